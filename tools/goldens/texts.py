"""Texts that are hard to cut, from a generator that tests/suite/text/{patterns,long_texts}.rs have, too."""

MASK = (1 << 64) - 1

# What texts are made of.
FRAGMENTS = [
    " ", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\u200d",
    "a", "b", "the", "Hello", "hello", "WORLD", "iPhone", "ab", "aab", "x", "I", "s", "t", "don", "É", "é", "ß", "ſ", "K",
    "e\u0301", "नमस्ते", "हि", "ไทย", "مرحبا", "שלום", "今天", "世界", "カタカナ", "ひらがな", "한국어", "Привет", "Ελλάδα", "Ǆ", "ǅ",
    "0", "1", "7", "12", "123", "1234", "12345", "1234567", "٣", "²", "Ⅷ", "½",
    "'", "'s", "'S", "'ll", "'LL", "'re", "’s", "\"", ".", ",", "!", "?", "...", "…", "。", "，", "、", "！", "-", "_", "__",
    "(", ")", "[", "]", "{", "}", "<", ">", "/", "\\", "|", "^", "~", "`", "@", "#", "$", "%", "&", "*", "+", "=", ":", ";",
    "😀", "👍🏽", "👩\u200d👩\u200d👧", "🇨🇭", "€", "©", "\u0000", "\u0001", "\u001c", "\u007f", "\ufeff", "\ufffd", "𝔘", "﷽", "ﬀ",
]


def generator(seed):
    """Numbers below a bound; 64-bit xorshift with a multiplication."""
    state = seed

    def below(bound):
        nonlocal state
        state ^= state >> 12
        state = (state ^ (state << 25)) & MASK
        state ^= state >> 27
        return ((state * 0x2545F4914F6CDD1D & MASK) >> 33) % bound

    return below


def fnv(sequences):
    value = 0xCBF29CE484222325
    for ids in sequences:
        for number in ids + [0xFFFF]:
            value = ((value ^ number) * 0x100000001B3) & MASK
    return f"{value:016x}"
