module github.com/ortshard/ortshard/bindings/go

go 1.23
