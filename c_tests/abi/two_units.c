/* Two translation units, one of C and one of C++, include the header and link to one program. */
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
