// The header for cgo as it is. Prints the ids that follow TEST_PROMPT on TEST_MODEL; ids lie in Go's memory, and messages are
// read by object, so that no goroutine is bound to its thread.
package main

/*
#include <stdlib.h>
#include "ortshard.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

func message(object unsafe.Pointer) string {
	var needed C.size_t
	C.ortshard_error_message(object, nil, 0, &needed)
	text := make([]byte, needed)
	C.ortshard_error_message(object, (*C.char)(unsafe.Pointer(&text[0])), needed, &needed)
	return string(text[:needed-1])
}

func ok(status C.ortshard_status, object unsafe.Pointer) {
	if status != C.ORTSHARD_OK {
		panic(message(object))
	}
}

func main() {
	var engine *C.ortshard_engine
	runtime.LockOSThread()
	ok(C.ortshard_engine_create(nil, &engine), nil)
	runtime.UnlockOSThread()
	var spec C.ortshard_shard_spec
	ok(C.ortshard_shard_spec_init(&spec, C.size_t(unsafe.Sizeof(spec))), nil)
	spec.model = C.CString(os.Getenv("TEST_MODEL"))
	defer C.free(unsafe.Pointer(spec.model))
	var shard *C.ortshard_shard
	ok(C.ortshard_engine_ensure_shard(engine, &spec, nil, nil, &shard), unsafe.Pointer(engine))
	var request *C.ortshard_request
	ok(C.ortshard_request_create(shard, nil, &request), unsafe.Pointer(shard))

	var ids []C.int64_t
	for _, id := range strings.Split(os.Getenv("TEST_PROMPT"), ",") {
		number, _ := strconv.ParseInt(id, 10, 64)
		ids = append(ids, C.int64_t(number))
	}
	var following []string
	for len(following) < 8 {
		ok(C.ortshard_request_sample(request, &ids[0], C.size_t(len(ids)), nil, &ids[0]), unsafe.Pointer(request))
		ids = ids[:1]
		following = append(following, fmt.Sprint(ids[0]))
	}
	fmt.Println(strings.Join(following, ","))

	// A failure on another goroutine is told here.
	done := make(chan C.ortshard_status)
	go func() { done <- C.ortshard_request_truncate(request, 1<<40) }()
	if status := <-done; status != C.ORTSHARD_ERROR_OUT_OF_RANGE || !strings.Contains(message(unsafe.Pointer(request)), "position") {
		panic(message(unsafe.Pointer(request)))
	}
	C.ortshard_request_free(request)
	C.ortshard_shard_free(shard)
	C.ortshard_engine_free(engine)
}
