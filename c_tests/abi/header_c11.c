/* The header compiles alone as C11, and structs and constants are as programs compiled with it rely on. layout.h is made from
 * include/ortshard.json: an assertion for each of its numbers. */
#include "ortshard.h"

_Static_assert(ORTSHARD_ABI_VERSION == 0, "look at docs/abi.md before changing this");
_Static_assert(sizeof(ortshard_status) == 4 && (ortshard_status)-1 < 0, "status");

#include "layout.h"

int main(void)
{
    return ortshard_abi_version() != ORTSHARD_ABI_VERSION;
}
