/* One of two translation units that include the header: C calling into header_cpp.cc, compiled as C++. */
#include "ortshard.h"
#include "ortshard.h"

int cpp_half(void);

int main(void)
{
    ortshard_sampler *sampler = NULL;
    int status = ortshard_sampler_create(NULL, &sampler);
    ortshard_sampler_free(sampler);
    return status != ORTSHARD_OK || cpp_half() != 0;
}
