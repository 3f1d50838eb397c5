package ortshard

// #include "abi_generated.h"
import "C"

import (
	"unsafe"
)

// A Tokenizer makes token ids of text, and text of ids. Its methods may be called from many goroutines.
type Tokenizer struct {
	object[*C.ortshard_tokenizer]
}

func newTokenizer(handle **C.ortshard_tokenizer, err error) (*Tokenizer, error) {
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{}
	t.init(*handle, "tokenizer", func(handle *C.ortshard_tokenizer) { C.ortshard_go_tokenizer_free(handle) })
	return owned(t), nil
}

// OpenTokenizer opens the tokenizer of a model folder, or a tokenizer.json.
func OpenTokenizer(path string) (*Tokenizer, error) {
	var handle *C.ortshard_tokenizer
	return newTokenizer(&handle, plain(func(a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_open(f, a.text(path, "path"), &handle)
	}))
}

// Close frees the tokenizer.
func (t *Tokenizer) Close() { t.close() }

// Encode gives the token ids of a text. Nil options: the text, with the special tokens that it spells out.
func (t *Tokenizer) Encode(text string, options *EncodeOptions) ([]int64, error) {
	// There are hardly more ids than bytes.
	return filled(len(text)+64, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			list, count := a.texts([]string{text}, "texts")
			return C.ortshard_go_tokenizer_encode_texts(f, tokenizer, list, count, options.c(a), (*C.int64_t)(place), capacity, needed, nil)
		})
	})
}

// EncodeTexts gives the token ids of each of many texts, which are shared out among threads.
func (t *Tokenizer) EncodeTexts(texts []string, options *EncodeOptions) ([][]int64, error) {
	ends, room := make([]C.size_t, len(texts)), 64
	for _, text := range texts {
		room += len(text)
	}
	all, err := filled(room, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			list, count := a.texts(texts, "texts")
			ids, places := (*C.int64_t)(place), unsafe.SliceData(ends)
			return C.ortshard_go_tokenizer_encode_texts(f, tokenizer, list, count, options.c(a), ids, capacity, needed, places)
		})
	})
	if err != nil {
		return nil, err
	}
	each, start := make([][]int64, len(texts)), 0
	for at, end := range ends {
		each[at], start = all[start:end:end], int(end)
	}
	return each, nil
}

// Count is how many token ids a text has.
func (t *Tokenizer) Count(text string, options *EncodeOptions) (int, error) {
	var needed C.size_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		list, count := a.texts([]string{text}, "texts")
		return C.ortshard_go_tokenizer_encode_texts(f, tokenizer, list, count, options.c(a), nil, 0, &needed, nil)
	})
	return int(needed), err
}

// A Token is an id, and the part of the text that it stands for: text[Start:End].
type Token struct {
	ID         int64
	Start, End int
}

// EncodeWithRanges gives the token ids of a text, and for each the part of the text that it stands for.
func (t *Tokenizer) EncodeWithRanges(text string, options *EncodeOptions) ([]Token, error) {
	var ranges []C.ortshard_byte_range
	ids, err := filled(len(text)+64, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		ranges = make([]C.ortshard_byte_range, capacity)
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
			line, list := a.text(text, "text"), (*C.int64_t)(place)
			return C.ortshard_go_tokenizer_encode_with_ranges(f, tokenizer, line, options.c(a), list, &ranges[0], capacity, needed)
		})
	})
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, len(ids))
	for at, id := range ids {
		tokens[at] = Token{ID: id, Start: int(ranges[at].start), End: int(ranges[at].end)}
	}
	return tokens, nil
}

// Decode gives the text of token ids.
func (t *Tokenizer) Decode(tokens []int64, skipSpecial bool) (string, error) {
	return withoutNUL(filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			list, count := ids(tokens)
			text := (*C.char)(unsafe.Pointer(place))
			return C.ortshard_go_tokenizer_decode(f, tokenizer, list, count, flag(skipSpecial), text, capacity, needed)
		})
	}))
}

// VocabSize is the number of tokens, added ones included.
func (t *Tokenizer) VocabSize() (int, error) {
	var size C.size_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_vocab_size(f, tokenizer, &size)
	})
	return int(size), err
}

// BOS is the id that begins a sequence, or [NoID].
func (t *Tokenizer) BOS() (int64, error) {
	var id C.int64_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_bos(f, tokenizer, &id)
	})
	return int64(id), err
}

// Pad is the id that fills up rows, or [NoID].
func (t *Tokenizer) Pad() (int64, error) {
	var id C.int64_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_pad(f, tokenizer, &id)
	})
	return int64(id), err
}

// EOS are the ids that end a sequence.
func (t *Tokenizer) EOS() ([]int64, error) {
	return filled(usual, func(place *int64, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_tokenizer_eos(f, tokenizer, (*C.int64_t)(place), capacity, needed)
		})
	})
}

// TokenID is the id of a token by its spelling in the vocabulary, or [NoID].
func (t *Tokenizer) TokenID(token string) (int64, error) {
	var id C.int64_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, a *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_token_to_id(f, tokenizer, a.text(token, "token"), &id)
	})
	return int64(id), err
}

// Token is the spelling of a token in the vocabulary.
func (t *Tokenizer) Token(id int64) (string, error) {
	return withoutNUL(filled(usual, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_tokenizer_id_to_token(f, tokenizer, C.int64_t(id), (*C.char)(unsafe.Pointer(place)), capacity, needed)
		})
	}))
}

// TokenBytes are the bytes that a token adds to a text, which need not be whole characters.
func (t *Tokenizer) TokenBytes(id int64) ([]byte, error) {
	return filled(256, func(place *byte, capacity C.size_t, needed *C.size_t) error {
		return t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
			return C.ortshard_go_tokenizer_token_bytes(f, tokenizer, C.int64_t(id), unsafe.Pointer(place), capacity, needed)
		})
	})
}

// IsEOS tells whether a text ends with a token.
func (t *Tokenizer) IsEOS(id int64) (bool, error) {
	var is C.int32_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_is_eos(f, tokenizer, C.int64_t(id), &is)
	})
	return is != 0, err
}

// IsSpecial tells whether a token is a special one.
func (t *Tokenizer) IsSpecial(id int64) (bool, error) {
	var is C.int32_t
	err := t.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_tokenizer_is_special(f, tokenizer, C.int64_t(id), &is)
	})
	return is != 0, err
}

// A TextStream decodes token by token and gives text in whole characters.
type TextStream struct {
	object[*C.ortshard_text_stream]
}

// NewTextStream creates a stream.
func NewTextStream(tokenizer *Tokenizer, skipSpecial bool) (*TextStream, error) {
	var handle *C.ortshard_text_stream
	err := tokenizer.do(false, func(tokenizer *C.ortshard_tokenizer, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		return C.ortshard_go_text_stream_create(f, tokenizer, flag(skipSpecial), &handle)
	})
	if err != nil {
		return nil, err
	}
	s := &TextStream{}
	s.init(handle, "text stream", func(handle *C.ortshard_text_stream) { C.ortshard_go_text_stream_free(handle) })
	return owned(s), nil
}

// Close frees the stream.
func (s *TextStream) Close() { s.close() }

// Push gives the text that a token makes certain.
func (s *TextStream) Push(id int64) (text string, err error) {
	err = s.do(true, func(stream *C.ortshard_text_stream, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		var place *C.char
		var length C.size_t
		status := C.ortshard_go_text_stream_push(f, stream, C.int64_t(id), &place, &length)
		text = C.GoStringN(place, C.int(length))
		return status
	})
	return text, err
}

// Finish gives the text that was held back.
func (s *TextStream) Finish() (text string, err error) {
	err = s.do(true, func(stream *C.ortshard_text_stream, _ *arena, f *C.ortshard_go_failure) C.ortshard_status {
		var place *C.char
		var length C.size_t
		status := C.ortshard_go_text_stream_finish(f, stream, &place, &length)
		text = C.GoStringN(place, C.int(length))
		return status
	})
	return text, err
}
