from __future__ import annotations

from statistics import median

from potstill.evaluation.sentences import mixed_sentences


def test_same_sentences_of_mixed_length() -> None:
    sentences = mixed_sentences(1000)
    words = [len(sentence.split()) for sentence in sentences]
    assert sentences == mixed_sentences(1000)
    assert sentences[:10] == mixed_sentences(10)
    assert sentences != mixed_sentences(1000, seed=1)
    assert min(words) >= 3 and max(words) <= 80
    assert 12 <= median(words) <= 15
    assert sorted(words)[50] < 8 and sorted(words)[-50] > 30
