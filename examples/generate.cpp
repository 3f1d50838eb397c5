// Goes on with a text: generate [FOLDER OR NAME OF A MODEL] [TEXT]. The C++ header is a layer over ortshard.h, the manual.
#include <iostream>

#include "ortshard.hpp"

int main(int argc, char **argv)
{
    const char *prompt = argc > 2 ? argv[2] : "Once upon a time";
    try {
        auto generation = ortshard::generation::open(argc > 1 ? argv[1] : "models/stories");
        generation.append(prompt);
        std::cout << prompt;
        for (const auto &piece : generation) std::cout << piece.text << std::flush;
        std::cout << std::endl;
    } catch (const ortshard::error &why) {
        std::cerr << ortshard::status_name(why.status()) << ": " << why.what() << std::endl;
        return 1;
    }
}
