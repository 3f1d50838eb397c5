module ortshard.test/cgo

go 1.19
