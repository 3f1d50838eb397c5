package ortshard

// #include "abi_generated.h"
//
// void ortshard_go_logged(int32_t level, char *target, char *message, void *user_data);
//
// static ortshard_status ortshard_go_log(ortshard_go_failure *failure, int32_t level, int on)
// {
//     return ortshard_go_log_set_callback(failure, level, on ? (ortshard_log_callback)ortshard_go_logged : NULL, NULL);
// }
import "C"

import (
	"sync/atomic"
	"unsafe"
)

var logger atomic.Pointer[func(LogLevel, string, string)]

//export ortshard_go_logged
func ortshard_go_logged(level C.int32_t, target, message *C.char, _ unsafe.Pointer) {
	if log := logger.Load(); log != nil {
		(*log)(LogLevel(level), C.GoString(target), C.GoString(message))
	}
}

// SetLog sends messages up to a level to log, which is called from any goroutine, several at once, and must not panic. A nil log
// hears nothing. Only what the header says a log callback may do, log may do.
func SetLog(level LogLevel, log func(level LogLevel, target, message string)) error {
	if log == nil {
		err := plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status { return C.ortshard_go_log(f, 0, 0) })
		if err == nil {
			logger.Store(nil)
		}
		return err
	}
	logger.Store(&log)
	return plain(func(_ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_log(f, C.int32_t(level), 1)
	})
}
