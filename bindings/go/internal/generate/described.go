package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A field of a struct, and what a program sees of it.
type field struct {
	Name, Type string
	Offset     int
	Size       int
	Default    *string

	kind kind
	// The enum, struct or element that it holds.
	of  string
	doc string
}

type kind int

const (
	hidden kind = iota // sizes, callbacks, and what belongs to the field before
	number
	toggle  // true or false
	chosen  // a constant of an enum
	text    // a text that ends with a NUL
	optText // a text for which empty is not the same as none
	sized   // a text with its length behind it
	chars   // a text within the struct
	texts   // texts, and their number behind them
	list    // numbers or structs, and their number behind them
	inner   // another struct
	object  // a handle of an object, which is in use during the call
)

type structure struct {
	Name   string
	Size   int
	Init   bool `json:"has_init"`
	Fields []field
}

// Names and values in the order of the file.
type ordered[T any] []named[T]

type named[T any] struct {
	name  string
	value T
}

func (o *ordered[T]) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		var value T
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		*o = append(*o, named[T]{key.(string), value})
	}
	return nil
}

type function struct {
	Result     string
	Parameters [][2]string
}

type description struct {
	Constants ordered[int64]
	Enums     ordered[[]string]
	Aliases   ordered[string]
	Structs   ordered[structure]
	Callbacks ordered[function]
	Functions ordered[function]
	Handles   []string
}

func read(folder string) (*description, error) {
	facts, err := os.ReadFile(filepath.Join(folder, "ortshard.json"))
	if err != nil {
		return nil, err
	}
	header, err := os.ReadFile(filepath.Join(folder, "ortshard.h"))
	if err != nil {
		return nil, err
	}
	d := &description{}
	if err := json.Unmarshal(facts, d); err != nil {
		return nil, err
	}
	for at := range d.Structs {
		s := &d.Structs[at].value
		s.Name = d.Structs[at].name
		docs := docsOf(string(header), s.Name)
		for at := range s.Fields {
			s.Fields[at].doc = docs[s.Fields[at].Name]
		}
		for at := range s.Fields {
			d.classify(s.Fields, at)
		}
	}
	return d, nil
}

var (
	commented = regexp.MustCompile(`(?s)/\*\*(.*?)\*/\s*[^;]*?(\w+)(?:\[\d+\])?;`)
	pointed   = regexp.MustCompile(`^const (\w+) \*$`)
	counts    = regexp.MustCompile(`(^|_)count$`)
	lengths   = regexp.MustCompile(`(^|_)length$`)
	yesOrNo   = regexp.MustCompile(`^(is|can)_`)
)

// docsOf is what the header says about each field of a struct.
func docsOf(header, name string) map[string]string {
	docs := map[string]string{}
	_, body, _ := strings.Cut(header, "typedef struct "+name+" {\n")
	body, _, _ = strings.Cut(body, "\n} "+name+";")
	for _, found := range commented.FindAllStringSubmatch(body, -1) {
		var lines []string
		for _, line := range strings.Split(found[1], "\n") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "*")))
		}
		docs[found[2]] = strings.TrimSpace(strings.Join(lines, "\n"))
	}
	return docs
}

func (d *description) classify(fields []field, at int) {
	f := &fields[at]
	next := ""
	if at+1 < len(fields) && fields[at+1].Type == "size_t" {
		next = fields[at+1].Name
	}
	what := ""
	if found := pointed.FindStringSubmatch(f.Type); found != nil {
		what = found[1]
	}
	follows := at > 0 && strings.HasSuffix(fields[at-1].Type, "*") && (counts.MatchString(f.Name) || lengths.MatchString(f.Name))
	switch {
	case f.Name == "struct_size" || follows:
	case f.Type == "const char *" && lengths.MatchString(next):
		f.kind = sized
	case f.Type == "const char *" && strings.Contains(f.doc, "Empty:"):
		f.kind = optText
	case f.Type == "const char *":
		f.kind = text
	case f.Type == "const char *const *":
		f.kind = texts
	case what != "" && counts.MatchString(next):
		f.kind, f.of = list, what
	case what != "" && d.isStruct(what):
		f.kind, f.of = inner, what
	case slices.Contains(d.Handles, what):
		f.kind, f.of = object, what
	case strings.HasPrefix(f.Type, "char["):
		f.kind = chars
	case goNumbers[f.Type] == "":
	case yesOrNo.MatchString(f.Name) || strings.Contains(f.doc, "Not 0:"):
		f.kind = toggle
	case f.Type == "int32_t" && d.enumOf(f) != "":
		f.kind, f.of = chosen, d.enumOf(f)
	default:
		f.kind = number
	}
}

func (d *description) isStruct(name string) bool {
	for _, s := range d.Structs {
		if s.name == name {
			return true
		}
	}
	return false
}

// enumOf is the enum of which a field holds a constant, as its documentation says.
func (d *description) enumOf(f *field) string {
	if strings.HasSuffix(f.Name, "dtype") {
		return "ortshard_dtype"
	}
	for _, e := range d.Enums {
		if prefix := prefixOf(e.value); prefix != "ORTSHARD_" && strings.Contains(f.doc, prefix) {
			return e.name
		}
	}
	return ""
}

// prefixOf is what the names of an enum begin with, up to its last underscore.
func prefixOf(members []string) string {
	prefix := members[len(members)-1]
	for _, member := range members {
		for !strings.HasPrefix(member, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix[:strings.LastIndex(prefix, "_")+1]
}

var goNumbers = map[string]string{
	"int32_t": "int32", "uint32_t": "uint32", "int64_t": "int64", "uint64_t": "uint64", "size_t": "uint64", "float": "float32",
	"double": "float64",
}
