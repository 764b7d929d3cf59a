"""Twenty texts, each unlike the others in something that a tokenizer may take otherwise than another."""

TEXTS = {
    "a sentence": "The river runs through the village.",
    "empty": "",
    "blanks": "   ",
    "one letter": "a",
    "600 words": " ".join(f"word{number % 7} river" for number in range(300)),  # more than any of the models reads
    "emoji": "I love this 😀👍🏽 so much 👨‍👩‍👧!",
    "Chinese": "我喜欢在河边散步。",
    "Japanese and Korean": "東京タワーは高いです。 안녕하세요 세계",
    "Arabic": "أحب المشي على ضفاف النهر",
    "Russian": "Река течёт через деревню.",
    "upper case": "WHY IS THE RIVER SO HIGH TODAY?",
    "accents": "Ça coûte très cher à l'été, naïve façade, Ångström, ŒUVRE",
    "accents put together": "Cafe\u0301 re\u0301sume\u0301 A\u030angstro\u0308m",
    "several lines": "First line.\nSecond line.\r\n\tThird, behind a tab.",
    "code": "def f(x: int) -> str: return f'{x!r}'  # {\"a\": [1, 2]}",
    "address": "https://example.org/a/b?c=d&e=f#g and someone@example.org",
    "numbers": "3.14159, 1,000,000; -7e-3 = 50% of $12",
    "special tokens": "The [MASK] of the [SEP] and </s> <s> [PAD]",
    "marks that nobody sees": "zero\u200bwidth, soft\u00adhyphen, no\u00a0break, \ufeffmark",
    "a word too long": "pneumono" * 30,
}
LONG = "600 words"
