// Package ortshard runs any contiguous range of a language model's layers on ONNX Runtime: a whole model in a few lines, or
// shards with hidden states going in and out.
//
// It loads the C library libortshard when it is first needed: see [Load]. ortshard.h is the manual of what each option and
// function does; names here are those of the header in Go's spelling.
//
// Every type is safe for use by many goroutines, in so far as a call on a [Request], [Generation], [Sampler], [TextStream] or
// [ChatParser] that another one is using fails with [ErrInvalidState] and does no harm. What is not closed is freed by the
// garbage collector, some time. A call that takes a context is cancelled with it and returns its error.
package ortshard

//go:generate go run ./internal/generate

// #cgo linux LDFLAGS: -ldl
// #include <stdlib.h>
// #include "abi_generated.h"
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

var library struct {
	sync.Mutex
	file string
}

// Load loads the library from the file at path. An empty path is what the environment's ORTSHARD_LIBRARY names, else where
// the system's loader finds it. The first call that needs the library does it, too, and later ones change nothing.
//
// A library that this package was not made for is [ErrVersionMismatch], and the message says what differs.
func Load(path string) error {
	library.Lock()
	defer library.Unlock()
	if library.file != "" {
		if path != "" && path != library.file {
			return &Error{Status: ErrInvalidState, Message: fmt.Sprintf("%s is loaded already, not %s", library.file, path)}
		}
		return nil
	}
	file := path
	if file == "" {
		file = os.Getenv("ORTSHARD_LIBRARY")
	}
	if file == "" {
		file = "libortshard.so.0"
		if runtime.GOOS == "darwin" {
			file = "libortshard.dylib"
		}
	}
	if strings.ContainsRune(file, 0) {
		return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf("%q holds a NUL character", file)}
	}
	name := C.CString(file)
	defer C.free(unsafe.Pointer(name))
	refuse := func(status Status, why string) error {
		return &Error{Status: status, Message: fmt.Sprintf("%s is not a library that this package was made for: %s", file, why)}
	}
	if wrong := C.ortshard_go_load(name); wrong != nil {
		defer C.free(unsafe.Pointer(wrong))
		why := C.GoString(wrong)
		if strings.HasPrefix(why, "it cannot be loaded") && path == "" {
			why += "; set ORTSHARD_LIBRARY to the path of libortshard, or call Load"
		}
		if strings.HasPrefix(why, "it cannot be loaded") {
			return &Error{Status: ErrNotFound, Message: file + ": " + why}
		}
		return refuse(ErrVersionMismatch, why)
	}
	if version := C.ortshard_go_abi_version(); version != abiVersion {
		return refuse(ErrVersionMismatch, fmt.Sprintf("its ABI version is %d, not %d", version, abiVersion))
	}
	if other := C.ortshard_go_other_struct(); other != nil {
		return refuse(ErrVersionMismatch, C.GoString(other)+" is another struct in it")
	}
	library.file = file
	return nil
}

// Version is that of the library that is running.
func Version() (string, error) {
	if err := Load(""); err != nil {
		return "", err
	}
	return C.GoString(C.ortshard_go_version()), nil
}

// LoadRuntime loads ONNX Runtime with options, before the first call that needs it.
func LoadRuntime(options *RuntimeOptions) error {
	return plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_runtime_load(f, options.c(a))
	})
}

// LoadedRuntime describes the ONNX Runtime that is loaded.
func LoadedRuntime() (RuntimeInfo, error) {
	c := C.ortshard_runtime_info{struct_size: C.sizeof_ortshard_runtime_info}
	err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_runtime_get_info(f, &c)
	})
	if err != nil {
		return RuntimeInfo{}, err
	}
	return getRuntimeInfo(&c), nil
}

// Devices are what shards can run on here.
func Devices() ([]DeviceInfo, error) {
	var count C.uint32_t
	err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_device_count(f, &count)
	})
	var devices []DeviceInfo
	for index := C.uint32_t(0); index < count && err == nil; index++ {
		c := C.ortshard_device_info{struct_size: C.sizeof_ortshard_device_info}
		err = plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_device_get_info(f, index, &c)
		})
		devices = append(devices, getDeviceInfo(&c))
	}
	return devices, err
}

// ReadModelInfo describes the model in a folder.
func ReadModelInfo(folder string) (ModelInfo, error) {
	c := C.ortshard_model_info{struct_size: C.sizeof_ortshard_model_info}
	err := plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_model_get_info(f, a.text(folder, "folder"), &c)
	})
	return getModelInfo(&c), err
}
