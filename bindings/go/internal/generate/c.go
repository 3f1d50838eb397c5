package main

import (
	"fmt"
	"strings"
)

// declared is `type name`, where the type may be an array.
func declared(kind, name string) string {
	if at := strings.Index(kind, "["); at >= 0 {
		return kind[:at] + " " + name + kind[at:]
	}
	return strings.TrimSuffix(kind+" "+name, " ")
}

func parameters(f function) (declaredList, names string) {
	var all, each []string
	for _, parameter := range f.Parameters {
		all = append(all, declared(parameter[1], parameter[0]))
		each = append(each, parameter[0])
	}
	if len(all) == 0 {
		return "void", ""
	}
	return strings.Join(all, ", "), strings.Join(each, ", ")
}

func cHeader(d *description) string {
	var out strings.Builder
	line := func(text string, values ...any) { fmt.Fprintf(&out, text+"\n", values...) }
	line("%s", warning)
	line("#ifndef ORTSHARD_GO_ABI_H\n#define ORTSHARD_GO_ABI_H\n\n#include <stddef.h>\n#include <stdint.h>\n")
	for _, alias := range d.Aliases {
		line("typedef %s;", declared(alias.value, alias.name))
	}
	for _, handle := range d.Handles {
		line("typedef struct %s %s;", handle, handle)
	}
	for _, s := range d.Structs {
		line("typedef struct %s %s;", s.name, s.name)
	}
	for _, callback := range d.Callbacks {
		list, _ := parameters(callback.value)
		line("typedef %s (*%s)(%s);", callback.value.Result, callback.name, list)
	}
	for _, s := range d.Structs {
		line("\nstruct %s {", s.name)
		for _, f := range s.value.Fields {
			line("    %s;", declared(f.Type, f.Name))
		}
		line("};\n_Static_assert(sizeof(%s) == %d, \"%s\");", s.name, s.value.Size, s.name)
		for _, f := range s.value.Fields {
			line("_Static_assert(offsetof(%s, %s) == %d, \"%s.%s\");", s.name, f.Name, f.Offset, s.name, f.Name)
		}
	}
	line("\n/* What went wrong in a call, taken on the thread that made it. */")
	line("typedef struct {\n    char *message;\n    ortshard_oom oom;\n} ortshard_go_failure;\n")
	line("/* Loads the library, and gives NULL; else what is wrong, to be freed. */\nchar *ortshard_go_load(const char *path);")
	line("/* What struct is not laid out in the loaded library as it is here, or NULL. */\nconst char *ortshard_go_other_struct(void);\n")
	for _, f := range d.Functions {
		list, _ := parameters(f.value)
		if f.value.Result == "ortshard_status" {
			list = strings.Join([]string{"ortshard_go_failure *go_failure", list}, ", ")
		}
		line("%s ortshard_go_%s(%s);", f.value.Result, strings.TrimPrefix(f.name, "ortshard_"), list)
	}
	line("\n#endif")
	return out.String()
}

func cSource(d *description) string {
	var out strings.Builder
	line := func(text string, values ...any) { fmt.Fprintf(&out, text+"\n", values...) }
	line("%s", warning)
	line("#include \"abi_generated.h\"\n\n#include <dlfcn.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
	line("static struct {")
	for _, f := range d.Functions {
		list, _ := parameters(f.value)
		line("    %s (*%s)(%s);", f.value.Result, f.name, list)
	}
	line("} library;\n")
	line(`static char *said(const char *text, const char *more)
{
    size_t size = strlen(text) + strlen(more) + 1;
    char *all = malloc(size);
    if (all) snprintf(all, size, "%%s%%s", text, more);
    return all;
}

char *ortshard_go_load(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return said("it cannot be loaded: ", dlerror());
    static const char *const names[] = {`)
	for _, f := range d.Functions {
		line("        \"%s\",", f.name)
	}
	line(`    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = dlsym(handle, names[i]);
        if (!found) {
            dlclose(handle);
            return said("it has no function ", names[i]);
        }
        memcpy((char *)&library + i * sizeof found, &found, sizeof found);
    }
    return NULL;
}

const char *ortshard_go_other_struct(void)
{`)
	for _, s := range d.Structs {
		if !s.value.Init {
			continue
		}
		line("    %s %s;", s.name, short(s.name))
		var others []string
		for _, f := range s.value.Fields {
			if f.Default == nil {
				continue
			}
			value := *f.Default
			for _, constant := range d.Constants {
				if constant.name == value {
					value = fmt.Sprint(constant.value)
				}
			}
			if f.Type == "float" {
				value += "f"
			}
			others = append(others, fmt.Sprintf("%s.%s != %s", short(s.name), f.Name, value))
		}
		tests := append([]string{
			fmt.Sprintf("library.%s_init(&%s, sizeof %s)", s.name, short(s.name), short(s.name)),
			fmt.Sprintf("%s.struct_size != sizeof %s", short(s.name), short(s.name)),
		}, others...)
		line("    memset(&%s, 0xff, sizeof %s);", short(s.name), short(s.name))
		line("    if (%s) return \"%s\";", strings.Join(tests, " || "), s.name)
	}
	line(`    return NULL;
}

static ortshard_status told(ortshard_go_failure *go_failure, ortshard_status status)
{
    if (status) {
        go_failure->message = said(library.ortshard_last_error(), "");
        go_failure->oom.struct_size = sizeof go_failure->oom;
        if (library.ortshard_error_get_oom(NULL, &go_failure->oom)) go_failure->oom.site = 0;
    }
    return status;
}`)
	for _, f := range d.Functions {
		list, names := parameters(f.value)
		name := strings.TrimPrefix(f.name, "ortshard_")
		switch f.value.Result {
		case "ortshard_status":
			line("\nortshard_status ortshard_go_%s(ortshard_go_failure *go_failure, %s)\n{", name, list)
			line("    return told(go_failure, library.%s(%s));\n}", f.name, names)
		case "void":
			line("\nvoid ortshard_go_%s(%s)\n{\n    library.%s(%s);\n}", name, list, f.name, names)
		default:
			line("\n%s ortshard_go_%s(%s)\n{\n    return library.%s(%s);\n}", f.value.Result, name, list, f.name, names)
		}
	}
	return out.String()
}

func short(name string) string { return strings.TrimPrefix(name, "ortshard_") }
