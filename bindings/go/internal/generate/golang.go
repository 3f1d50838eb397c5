package main

import (
	"fmt"
	"strings"
)

// What programs do not see as it is: inputs and outputs, ranges of a text, and messages, which come as JSON.
var unseen = map[string]bool{
	"ortshard_tensor": true, "ortshard_piece": true, "ortshard_byte_range": true, "ortshard_chat_message": true, "ortshard_file": true,
}

func isGiven(name string) bool {
	return strings.HasSuffix(name, "_options") || strings.HasSuffix(name, "_spec") || name == "ortshard_bias" || name == "ortshard_plan_device"
}

func goText(d *description) string {
	var out strings.Builder
	line := func(text string, values ...any) { fmt.Fprintf(&out, text+"\n", values...) }
	line("%s\npackage ortshard\n\n// #include \"abi_generated.h\"\nimport \"C\"\n", warning)
	line("// The version of the binary interface that this package was made from.\nconst abiVersion = %d\n", d.constant("ORTSHARD_ABI_VERSION"))
	known := map[string]bool{}
	for _, e := range d.Enums {
		enum(line, d, e)
		for _, member := range e.value {
			known[member] = true
		}
	}
	line("// Numbers that stand for something else.\nconst (")
	for _, constant := range d.Constants {
		if !known[constant.name] && !strings.Contains(constant.name, "_VERSION") {
			line("%s = %d", camel(strings.TrimPrefix(constant.name, "ORTSHARD_")), constant.value)
		}
	}
	line(")\n")
	for _, s := range d.Structs {
		if unseen[s.name] {
			continue
		}
		s.value.declare(line)
		switch {
		case isGiven(s.name):
			s.value.toC(line, d)
		default:
			s.value.fromC(line)
		}
		// The options that a publisher wants are also read.
		if s.name == "ortshard_sampler_options" {
			s.value.fromC(line)
		}
	}
	return out.String()
}

func (d *description) constant(name string) int64 {
	for _, constant := range d.Constants {
		if constant.name == name {
			return constant.value
		}
	}
	panic("there is no " + name)
}

type writer = func(string, ...any)

func enum(line writer, d *description, e named[[]string]) {
	name, prefix := typeName(e.name), prefixOf(e.value)
	if name == "StatusCode" {
		line("// The statuses that errors have. errors.Is finds them: errors.Is(err, ErrOutOfMemory).\nconst (")
		for _, member := range e.value {
			if member != "ORTSHARD_OK" {
				line("Err%s Status = %d", camel(strings.TrimPrefix(member, "ORTSHARD_ERROR_")), d.constant(member))
			}
		}
		line(")\n")
		return
	}
	line("// %s is one of the constants below, or a later one.\ntype %s int32\n\nconst (", name, name)
	for _, member := range e.value {
		line("%s%s %s = %d", strings.TrimSuffix(name, "Kind"), camel(strings.TrimPrefix(member, prefix)), name, d.constant(member))
	}
	line(")\n")
}

func (f *field) goType() string {
	switch f.kind {
	case number:
		return goNumbers[f.Type]
	case toggle:
		return "bool"
	case chosen:
		return typeName(f.of)
	case optText:
		return "*string"
	case texts:
		return "[]string"
	case list:
		if f.of == "int64_t" {
			return "[]int64"
		}
		return "[]" + typeName(f.of)
	case inner, object:
		return "*" + typeName(f.of)
	default:
		return "string"
	}
}

func (s *structure) declare(line writer) {
	name := typeName(s.Name)
	hasDefaults := false
	for _, f := range s.Fields {
		hasDefaults = hasDefaults || f.Default != nil
	}
	if hasDefaults {
		line("// %s: see %s in ortshard.h. Zero is not the default: start from Default%s.", name, s.Name, name)
	} else {
		line("// %s: see %s in ortshard.h.", name, s.Name)
	}
	line("type %s struct {", name)
	for _, f := range s.Fields {
		if f.kind == hidden {
			continue
		}
		for _, text := range strings.Split(f.doc, "\n") {
			if f.doc != "" {
				line("\t// %s", text)
			}
		}
		line("\t%s %s", camel(f.Name), f.goType())
	}
	line("}\n")
	if !hasDefaults {
		return
	}
	line("// Default%s has the defaults of the library.\nfunc Default%s() %s {\n\treturn %s{", name, name, name, name)
	for _, f := range s.Fields {
		if f.Default != nil {
			value := *f.Default
			if strings.HasPrefix(value, "ORTSHARD_") {
				value = camel(strings.TrimPrefix(value, "ORTSHARD_"))
			}
			line("\t\t%s: %s,", camel(f.Name), value)
		}
	}
	line("\t}\n}\n")
}

var keywords = map[string]bool{"type": true, "range": true, "func": true, "map": true, "select": true, "var": true, "chan": true}

func cField(name string) string {
	if keywords[name] {
		return "_" + name
	}
	return name
}

func (s *structure) toC(line writer, d *description) {
	line("func (o *%s) put(a *arena, c *C.%s) {", typeName(s.Name), s.Name)
	if s.Init {
		line("\tc.struct_size = C.sizeof_%s", s.Name)
	}
	for at, f := range s.Fields {
		own, name := "o."+camel(f.Name), cField(f.Name)
		where := fmt.Sprintf("%q", strings.ReplaceAll(short(s.Name), "_", " ")+": "+camel(f.Name))
		switch f.kind {
		case number, chosen:
			line("\tc.%s = C.%s(%s)", name, f.Type, own)
		case toggle:
			line("\tif %s {\n\t\tc.%s = 1\n\t}", own, name)
		case text:
			line("\tif %s != \"\" {\n\t\tc.%s = a.text(%s, %s)\n\t}", own, name, own, where)
		case optText:
			line("\tif %s != nil {\n\t\tc.%s = a.text(*%s, %s)\n\t}", own, name, own, where)
		case texts:
			line("\tc.%s, c.%s = a.texts(%s, %s)", name, s.Fields[at+1].Name, own, where)
		case list:
			if f.of == "int64_t" {
				line("\tc.%s, c.%s = a.ids(%s)", name, s.Fields[at+1].Name, own)
				continue
			}
			line("\tif len(%s) > 0 {\n\t\titems := many[C.%s](a, len(%s))", own, f.of, own)
			line("\t\tfor at := range items {\n\t\t\t%s[at].put(a, &items[at])\n\t\t}", own)
			line("\t\tc.%s, c.%s = &items[0], C.size_t(len(items))\n\t}", name, s.Fields[at+1].Name)
		case inner:
			line("\tif %s != nil {\n\t\tc.%s = one[C.%s](a)\n\t\t%s.put(a, c.%s)\n\t}", own, name, f.of, own, name)
		case object:
			line("\tif %s != nil {\n\t\tc.%s = using(a, &%s.object)\n\t}", own, name, own)
		}
	}
	line("}\n")
	if s.Init {
		line("func (o *%s) c(a *arena) *C.%s {\n\tif o == nil {\n\t\treturn nil\n\t}", typeName(s.Name), s.Name)
		line("\tc := one[C.%s](a)\n\to.put(a, c)\n\treturn c\n}\n", s.Name)
	}
}

func (s *structure) fromC(line writer) {
	name := typeName(s.Name)
	line("func get%s(c *C.%s) %s {\n\treturn %s{", name, s.Name, name, name)
	for at, f := range s.Fields {
		own, from := camel(f.Name), "c."+cField(f.Name)
		switch f.kind {
		case number:
			line("\t\t%s: %s(%s),", own, goNumbers[f.Type], from)
		case chosen:
			line("\t\t%s: %s(%s),", own, typeName(f.of), from)
		case toggle:
			line("\t\t%s: %s != 0,", own, from)
		case chars:
			line("\t\t%s: C.GoString(&%s[0]),", own, from)
		case text:
			line("\t\t%s: C.GoString(%s),", own, from)
		case sized:
			line("\t\t%s: C.GoStringN(%s, C.int(c.%s)),", own, from, s.Fields[at+1].Name)
		case list:
			if f.of != "int64_t" && !isGiven(f.of) {
				line("\t\t%s: each(%s, c.%s, get%s),", own, from, s.Fields[at+1].Name, typeName(f.of))
			}
		}
	}
	line("\t}\n}\n")
}
