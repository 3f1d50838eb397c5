"""Write a C file that defines every function of an ortshard.json as one that does nothing: a library made of it has the types of
the header that it includes, for tools that compare libraries by their debug information.

    python3 tests/install/stubs.py include/ortshard.json > stubs.c
    python3 tests/install/stubs.py --growing include/ortshard.json > growing.suppr

With --growing it writes which structs may grow, as a suppression file of abidiff.
"""

import json
import sys


def main() -> None:
    described = json.loads(open(sys.argv[-1]).read())
    if "--growing" in sys.argv:
        for name, layout in described["structs"].items():
            if layout["fields"][0]["name"] == "struct_size":
                print(f"[suppress_type]\n  type_kind = struct\n  name = {name}\n  has_data_member_inserted_at = end\n")
        return
    print('#include "ortshard.h"\n')
    for name, function in described["functions"].items():
        parameters = ", ".join(f"{kind} {parameter}" for parameter, kind in function["parameters"]) or "void"
        body = "" if function["result"] == "void" else " return 0; "
        print(f"{function['result']} {name}({parameters}) {{{body}}}")


main()
