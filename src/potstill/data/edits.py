"""A sentence changed in one thing that changes what it says: a negation, a number, the order, or one word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_WORD = re.compile(r"\w+(?:-\w+)*")
_AUXILIARY = re.compile(r"\b(?:is|are|was|were|can|could|will|would|should|must|might|has|have|had|does|did)\b", re.IGNORECASE)
_NOT = re.compile(r"\bnot ", re.IGNORECASE)
# With one of these a sentence is negated already, and a second negation may say anything.
_NEGATED = re.compile(r"\b(?:not?|nor|never|none|nobody|nothing|neither|without|cannot|hardly)\b|n ?['’] ?t\b", re.IGNORECASE)

_DIGITS = re.compile(r"(?<![\w.,:/'-])\d+(?![\w:/'-]|[.,]\d)")
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
_SHIFTS = range(3, 8)  # a number is told apart by no rounding and no other way of counting; the next ones are for what is there already

# Words of one side and the other. A word that is on several sides goes to the first.
_OPPOSITES = """
    man woman, men women, boy girl, boys girls, male female, father mother, brother sister, son daughter, husband wife, he she, dog cat,
    dogs cats, black white, red blue, green yellow, small large, big small, young old, new old, hot cold, high low, higher lower,
    highest lowest, inside outside, indoors outdoors, before after, above below, increase decrease,
    increases decreases, increased decreased, rise fall, rises falls, rose fell, rising falling, raise lower, win lose, wins loses,
    won lost, buy sell, buys sells, bought sold, buying selling, accept reject, accepts rejects, accepted rejected, support oppose,
    supports opposes, supported opposed, first last, more less, most least, many few, good bad, better worse, best worst,
    north south, northern southern, east west, eastern western, positive negative, success failure, true false, strong weak,
    early late, earlier later, easy difficult, rich poor, day night, morning evening, summer winter, always never, begin end,
    begins ends, start stop, starts stops, love hate, friend enemy, friends enemies, alive dead, guilty innocent, allow forbid,
    allows forbids, allowed forbidden, agree disagree, appear disappear, connect disconnect, connected disconnected, same different,
    long short, longer shorter, fast slow, quickly slowly, profit loss, gains losses, public private, legal illegal,
    possible impossible, import export, imports exports, remember forget, push pull, send receive,
    sends receives, sent received, majority minority, maximum minimum, open closed
"""
OPPOSITE: dict[str, str] = {}
for _pair in _OPPOSITES.split(","):
    _one, _other = _pair.split()
    OPPOSITE.setdefault(_one, _other)
    OPPOSITE.setdefault(_other, _one)

_ARTICLES = {"a", "an", "the"}
_LONGEST = 3  # words behind an article: more of them are seldom one phrase
# What ends a phrase that an article begins, besides a verb's ending.
_FUNCTION = _ARTICLES.union(
    "is are was were be been has have had can could will would should may must does did in on at of to by for from with into onto over "
    "under through near behind about and or but that which who as than while when if because not so it he she they".split()
)
_VERB = re.compile(r"\w{3,}(?:ing|ed)")
_VERB_OF_ONE = re.compile(rf"{_VERB.pattern}|\w+[^sui]s")  # behind `a` a noun has no plural: `a dog runs`
# Between two phrases these say the same in either order.
_SYMMETRIC = {"and", "or", "with", "near", "next", "to", "beside", "by", "is", "are", "was", "were", "meets", "between"}


def negated(text: str) -> str | None:
    """The sentence with `not` behind its first auxiliary verb, or without its only `not`.

    Args:
        text: an English sentence.

    Returns:
        The edited sentence; None where it is negated in another way, or has no auxiliary verb.
    """
    negations = _NEGATED.findall(text)
    if negations:
        return _NOT.sub("", text) if len(negations) == 1 and _NOT.search(text) else None
    verb = _AUXILIARY.search(text)
    return None if verb is None else f"{text[: verb.end()]} not{text[verb.end() :]}"


def renumbered(text: str) -> str | None:
    """The sentence with another number in the place of its first one: 5 becomes 8, 2004 2007, two five.

    The new one is no other number of the sentence.

    Args:
        text: an English sentence.

    Returns:
        The edited sentence; None where it has no number of its own, in digits or as a word from two to nine.
    """
    found = [match for match in (_DIGITS.search(text), re.search(rf"\b(?:{'|'.join(_COUNTS)})\b", text, re.IGNORECASE)) if match]
    if not found:
        return None
    number = min(found, key=lambda match: match.start())
    known = {word[0].lower() for word in _WORD.finditer(text)}
    new = next((other for other in _other_numbers(number[0].lower()) if other not in known), None)
    return None if new is None else _replaced(text, number, new)


def reordered(text: str) -> str | None:
    """The sentence with its first two noun phrases in each other's places: a man plays a guitar, a guitar plays a man.

    A phrase is an article and up to three words. The two are left where what stands between them says the same in
    either order, as `and` does.

    Args:
        text: an English sentence.

    Returns:
        The edited sentence, of the same words; None where there are no such phrases.
    """
    words = list(_WORD.finditer(text))
    lower = [word[0].lower() for word in words]
    phrases: list[tuple[int, int]] = []  # first word, and the one behind the last
    start = 0
    while start < len(words) and len(phrases) < 2:
        end = start + 1
        if lower[start] in _ARTICLES:
            verb = _VERB if lower[start] == "the" else _VERB_OF_ONE
            while end < len(words) and lower[end] not in _FUNCTION and not verb.fullmatch(lower[end]) and _beside(text, words, end):
                end += 1
            if 1 < end - start <= 1 + _LONGEST:
                phrases.append((start, end))
        start = end
    if len(phrases) < 2:
        return None
    (a, b), (c, d) = phrases
    joined = {"and", "or"} & {lower[b], *lower[d : d + 1]}  # `a black and white dog`: the phrase goes on
    if joined or lower[a + 1 : b] == lower[c + 1 : d] or set(lower[b:c]) <= _SYMMETRIC:
        return None
    first, second = (text[words[one].start() : words[other - 1].end()] for one, other in phrases)
    middle = text[words[b - 1].end() : words[c].start()]
    return text[: words[a].start()] + second + middle + first + text[words[d - 1].end() :]


def opposed(text: str) -> str | None:
    """The sentence with the opposite of its first word that has one: a man becomes a woman, rises falls.

    Args:
        text: an English sentence.

    Returns:
        The edited sentence; None where no word is in the table OPPOSITE.
    """
    word = next((word for word in _WORD.finditer(text) if word[0].lower() in OPPOSITE), None)
    return None if word is None else _replaced(text, word, OPPOSITE[word[0].lower()])


EDITS: dict[str, Callable[[str], str | None]] = {"negation": negated, "number": renumbered, "order": reordered, "word": opposed}
"""Kind of edit → what makes it; the same sentence is always edited alike."""


def _other_numbers(old: str) -> Iterator[str]:
    """Numbers like another: digits with another last one, or words."""
    for shift in _SHIFTS:
        if old in _COUNTS:
            yield _COUNTS[(_COUNTS.index(old) + shift) % len(_COUNTS)]
        elif len(old) > 1:
            yield old[:-1] + str((int(old[-1]) + shift) % 10)
        else:
            yield str((int(old) - 1 + shift) % 9 + 1)  # without 0, which is no number of things


def _beside(text: str, words: list[re.Match[str]], number: int) -> bool:
    """Whether nothing but white space stands between a word and the one before it."""
    return not text[words[number - 1].end() : words[number].start()].strip()


def _replaced(text: str, found: re.Match[str], new: str) -> str:
    """The text with another word in a place, with a capital letter where there was one."""
    return text[: found.start()] + (new.capitalize() if found[0][0].isupper() else new) + text[found.end() :]
