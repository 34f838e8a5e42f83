"""The reference is right: against brute force, sums to one, and plain softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.llama import LlamaModel, Weights
from tests.helpers.exact import Canonical, Exact, exact
from tests.helpers.fakes import FakeModel, noise, random_model
from tests.helpers.nasty import LONG, NASTY

WORDS = (b"a", b"b", b"ab", b"ba", b"aab", b"a", b"bab", b"\xff", b"\xffa")
END, OTHER_END, MARK, UNUSED = (len(WORDS) + n for n in range(4))


def greedy(text: str, first: bool, special: bool) -> list[int]:
    """The longest token that fits, again and again; UNUSED for a byte that has none."""
    data, tokens = text.encode(), []
    while data:
        fitting = [n for n, word in enumerate(WORDS) if data.startswith(word)]
        found = max(fitting, key=lambda n: len(WORDS[n]), default=UNUSED)
        tokens.append(found)
        data = data[len(WORDS[found]) if fitting else 1 :]
    return tokens


VOCAB = Vocab(
    tokens=(*WORDS, b"<end>", b"<stop>", b"ab", b"a"),
    kinds=(*[Kind.NORMAL] * len(WORDS), Kind.CONTROL, Kind.USER_DEFINED, Kind.CONTROL, Kind.UNUSED),
    end_of_generation=frozenset((END, OTHER_END)),
    tokenize=greedy,
)
"""Merges of two letters, a token twice, bytes that are no text, and four that are never spoken."""

CONTEXT = [1, 2]


def tiny_fake(seed: int) -> FakeModel:
    return FakeModel(noise(seed, VOCAB), vocab=VOCAB)


def log_softmax(row: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(row - np.logaddexp.reduce(row.astype(np.float64)))


def chances(seed: int, n: int) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of `n` tokens after CONTEXT."""
    row_after = noise(seed, VOCAB)
    rows = {
        path: np.exp(log_softmax(row_after([*CONTEXT, *path])))
        for length in range(n)
        for path in product(range(len(VOCAB)), repeat=length)
    }
    return {
        path: math.prod(rows[path[:at]][path[at]] for at in range(n))
        for path in product(range(len(VOCAB)), repeat=n)
    }


def read(path: Sequence[int]) -> tuple[bytes, int | None]:
    """The bytes before the first token that is no text, and that token."""
    for at, token in enumerate(path):
        if token >= len(WORDS):
            return b"".join(WORDS[t] for t in path[:at]), token
    return b"".join(WORDS[t] for t in path), None


def brute(seed: int, target: bytes, n: int = 3) -> float:
    """P(the next bytes begin with a target of up to `n` bytes), over all sequences of n tokens."""
    assert len(target) <= n
    return math.fsum(p for path, p in chances(seed, n).items() if read(path)[0].startswith(target))


TARGETS = [b"", b"a", b"b", b"aa", b"ab", b"ba", b"aab", b"aba", b"bab", b"\xff", b"\xffab", b"c"]


@pytest.mark.parametrize("seed", [1, 2])
def test_it_equals_brute_force_over_all_sequences(seed: int) -> None:
    found = exact(tiny_fake(seed), CONTEXT, b"", TARGETS)
    expected = [brute(seed, target) for target in TARGETS]
    np.testing.assert_allclose(np.exp(found.log_p), expected, rtol=1e-9, atol=1e-15)
    assert found.log_p[0] == 0.0
    assert found.log_p[-1] == -math.inf
    assert not found.pruned.any()
    assert not found.error.any()


def test_what_was_said_counts_as_the_beginning_of_each_candidate() -> None:
    found = exact(tiny_fake(1), CONTEXT, b"a", [b"", b"b", b"ba", b"ab"])
    whole = exact(tiny_fake(1), CONTEXT, b"", [b"a", b"ab", b"aba", b"aab"])
    np.testing.assert_allclose(found.log_p, whole.log_p, rtol=1e-12)


@pytest.mark.parametrize("said", [b"", b"a", b"ab"])
def test_the_end_equals_brute_force(said: bytes) -> None:
    expected = math.fsum(
        p
        for path, p in chances(1, 3).items()
        if read(path)[0] == said and read(path)[1] in (END, OTHER_END)
    )
    for candidates in ([], [b""], [b"a", b"b"]):
        found = exact(tiny_fake(1), CONTEXT, said, candidates)
        assert math.exp(found.log_end) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("said", [b"", b"a", b"ab", b"aab\xff", b"babaab"])
def test_all_next_bytes_and_the_end_sum_to_one(said: bytes) -> None:
    # Whatever is no text ends the text here, so that nothing is left over.
    vocab = Vocab(VOCAB.tokens, VOCAB.kinds, end_of_generation=frozenset(range(END, len(VOCAB))))
    model = FakeModel(noise(3, vocab), vocab=vocab)
    found = exact(model, CONTEXT, said, [b"", *(bytes([n]) for n in range(256))])
    total = np.exp(found.log_p[1:]).sum() + math.exp(found.log_end)
    assert total == pytest.approx(math.exp(found.log_p[0]), rel=1e-12)
    assert np.isfinite(found.log_p).sum() == 4


def test_it_is_plain_softmax_where_every_token_is_a_byte() -> None:
    model = random_model(4)
    said, context = b"say ", [1, 2, 3]
    found = exact(model, context, said, [bytes([n]) for n in range(256)])
    rows = log_softmax_rows(model, [*context, *said], len(said) + 1)
    of_said = sum(rows[at][byte] for at, byte in enumerate(said))
    np.testing.assert_allclose(found.log_p, of_said + rows[-1][:256], rtol=1e-12)
    assert found.n_evals == len(said)


def log_softmax_rows(model: Model, tokens: Sequence[int], rows: int) -> list[NDArray[np.float64]]:
    return [log_softmax(row) for row in model.eval(tokens, rows)]


def test_the_model_is_left_as_it_was_found() -> None:
    model = tiny_fake(1)
    model.eval([3, 4])
    alone = FakeModel(noise(1, VOCAB), vocab=VOCAB)
    found = exact(model, CONTEXT, b"a", [b"b"])
    assert model.history == [3, 4]
    assert found.log_p == exact(alone, [3, 4, *CONTEXT], b"a", [b"b"]).log_p


def test_the_model_is_left_as_it_was_found_after_an_error() -> None:
    model = FakeModel(noise(1, VOCAB), vocab=VOCAB, n_ctx=6)
    model.eval([3, 4])
    with pytest.raises(Exception, match="is full"):
        exact(model, CONTEXT, b"", [b"ababab"])
    assert model.history == [3, 4]


def test_a_context_is_needed() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        exact(tiny_fake(1), [], b"", [b"a"])


def test_every_branch_is_evaluated_once_for_all_candidates() -> None:
    model = tiny_fake(1)
    found = exact(model, CONTEXT, b"", [b"aba", b"abb", b"aab"])
    evaluated = sorted({tuple(path) for path in paths_before_covering((b"aba", b"abb", b"aab"))})
    assert found.n_evals == len(evaluated) == len(model.evals) - 1


def paths_before_covering(targets: tuple[bytes, ...]) -> list[tuple[int, ...]]:
    """Sequences whose bytes are a proper prefix of a target."""
    every = (path for n in (1, 2) for path in product(range(len(WORDS)), repeat=n))
    spelled = ((path, b"".join(WORDS[token] for token in path)) for path in every)
    return [
        path
        for path, data in spelled
        if any(target.startswith(data) and target != data for target in targets)
    ]


# Pruning


@pytest.mark.parametrize("canonical_only", [False, True])
def test_what_pruning_leaves_out_is_bounded_by_what_it_reports(canonical_only: bool) -> None:
    candidates = [b"ababab", b"aabab", b"bababa", b"a", b"abaaba"]
    whole = exact(tiny_fake(5), CONTEXT, b"", candidates, canonical_only=canonical_only)
    evals = []
    for epsilon in (1e-6, 1e-4, 1e-2):
        found = exact(
            tiny_fake(5), CONTEXT, b"", candidates, epsilon=epsilon, canonical_only=canonical_only
        )
        assert np.all(found.log_p <= whole.log_p + 1e-12)
        assert np.all(np.exp(whole.log_p) <= np.exp(found.log_p) + found.pruned + 1e-15)
        reached = np.isfinite(found.log_p)
        assert np.all((whole.log_p - found.log_p)[reached] <= found.error[reached] + 1e-12)
        evals.append(found.n_evals)
    assert whole.n_evals >= evals[0] > evals[-1]
    assert found.pruned.any()


@pytest.mark.parametrize("canonical_only", [False, True])
def test_pruning_may_be_relative_to_each_candidates_own_probability(canonical_only: bool) -> None:
    # The last is so unlikely that no absolute limit would suit both.
    candidates = [b"a", b"ab", b"abaabaab"]
    whole = exact(tiny_fake(5), CONTEXT, b"", candidates, canonical_only=canonical_only)
    assert whole.log_p[-1] < whole.log_p[0] - 4
    found = exact(
        tiny_fake(5), CONTEXT, b"", candidates, relative=1e-3, canonical_only=canonical_only
    )
    assert found.n_evals < whole.n_evals
    assert found.pruned.any()
    lacking = whole.log_p - found.log_p
    assert np.all(lacking >= -1e-12)
    assert np.all(lacking <= found.error + 1e-12)
    assert found.error.max() < 0.1


def test_the_end_is_bounded_too() -> None:
    whole = exact(tiny_fake(5), CONTEXT, b"abab", [])
    found = exact(tiny_fake(5), CONTEXT, b"abab", [], epsilon=1e-2)
    left_out = math.exp(whole.log_end) - math.exp(found.log_end)
    assert 0 < left_out <= found.end_pruned


def test_nothing_found_and_something_pruned_is_an_unbounded_error() -> None:
    found = exact(tiny_fake(5), CONTEXT, b"", [b"ababab", b"c"], epsilon=1.0)
    assert list(found.log_p) == [-math.inf, -math.inf]
    assert list(found.error) == [math.inf, 0.0]


# Valid tokenisations only


def is_canonical(path: Sequence[int]) -> bool:
    data = b"".join(WORDS[token] for token in path)
    return b"\xff" not in data and greedy(data.decode(), False, False) == list(path)


@pytest.mark.parametrize("target", [b"a", b"ab", b"aab", b"aba", b"bab"])
def test_canonical_only_equals_brute_force_over_what_the_tokenizer_makes(target: bytes) -> None:
    rows = noise(6, VOCAB)
    expected = 0.0
    for n in range(1, len(target) + 1):
        for path in product(range(len(WORDS)), repeat=n):
            covers = b"".join(WORDS[t] for t in path).startswith(target)
            sooner = b"".join(WORDS[t] for t in path[:-1]).startswith(target)
            if not covers or sooner or not all(is_canonical(path[:m]) for m in range(1, n + 1)):
                continue
            expected += math.exp(
                sum(log_softmax(rows([*CONTEXT, *path[:at]]))[path[at]] for at in range(n))
            )
    model = tiny_fake(6)
    valid = exact(model, CONTEXT, b"", [target], canonical_only=True)
    assert math.exp(valid.log_p[0]) == pytest.approx(expected, rel=1e-9)
    assert valid.log_p[0] < exact(model, CONTEXT, b"", [target]).log_p[0]


def test_both_agree_for_a_model_that_speaks_as_its_tokenizer_does() -> None:
    random_row = noise(7, VOCAB)

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        logits = np.array(random_row(history))
        for token in range(len(WORDS)):
            if not is_canonical([*history[len(CONTEXT) :], token]):
                logits[token] = -1e4
        return logits

    found: list[Exact] = [
        exact(FakeModel(row, vocab=VOCAB), CONTEXT, b"a", TARGETS[1:9], canonical_only=only)
        for only in (True, False)
    ]
    np.testing.assert_allclose(found[0].log_p, found[1].log_p, rtol=1e-9)
    assert np.isfinite(found[0].log_p).any()
    assert found[0].n_evals < found[1].n_evals


# Over llama.cpp


def coverings(vocab: Vocab, target: bytes) -> list[list[int]]:
    """Every covering of `target`, plainly."""
    found = []
    for token in range(len(vocab)):
        data = vocab.piece(token)
        if data.startswith(target):
            found.append([token])
        elif data and target.startswith(data):
            found += [[token, *rest] for rest in coverings(vocab, target[len(data) :])]
    return found


def chance(weights: Weights, path: Sequence[int]) -> float:
    """The log-probability of `path` after token 5, all read at once by a fresh context."""
    model = LlamaModel(weights, n_ctx=64)
    rows = log_softmax_rows(model, [5, *path], len(path) + 1)
    model.close()
    return float(sum(rows[at][token] for at, token in enumerate(path)))


@pytest.mark.parametrize("target", [b" the", b"and", "é ".encode()])
def test_it_equals_the_sum_of_all_coverings_over_llama_cpp(tiny: Weights, target: bytes) -> None:
    paths = coverings(tiny.vocab, target)
    assert len(paths) >= 2
    model = LlamaModel(tiny, n_ctx=64)
    for canonical_only in (False, True):
        kept = [
            path
            for path in paths
            if not canonical_only
            or all(
                tiny.vocab.encode(b"".join(tiny.vocab.tokens[t] for t in path[:n]).decode())
                == path[:n]
                for n in range(1, len(path) + 1)
                if b"".join(tiny.vocab.tokens[t] for t in path[:n])[-1:] != b"\xc3"
            )
        ]
        expected = np.logaddexp.reduce([chance(tiny, path) for path in kept])
        for cut in range(len(target)):
            found = exact(model, [5], target[:cut], [target[cut:]], canonical_only=canonical_only)
            assert found.log_p[0] == pytest.approx(expected, abs=0.01)
    assert len(kept) < len(paths)
    assert model.n_past == 0
    model.close()


@pytest.mark.slow
def test_every_beginning_of_what_real_tokenizers_make_counts(tokenizers: dict[str, Vocab]) -> None:
    # User-typed markers are cut as a whole text only, so their beginnings are tokenised otherwise.
    texts = [text for name, text in NASTY.items() if name not in LONG and "</s>" not in text]
    for name, vocab in tokenizers.items():
        canonical = Canonical(vocab)
        for text in texts:
            tokens = vocab.encode(text)
            for n in range(1, len(tokens) + 1):
                spelled = [vocab.tokens[token] for token in tokens[:n]]
                assert canonical.counts(tuple(tokens[:n])), (name, spelled)


@pytest.mark.slow
def test_what_real_tokenizers_do_not_make_does_not_count(tokenizers: dict[str, Vocab]) -> None:
    for name, vocab in tokenizers.items():
        canonical = Canonical(vocab)
        for text in (" the naïve café", " 東京へ行く", " x 😀", "two  the"):
            by_byte = tuple(vocab.tokens.index(bytes([byte])) for byte in text.encode())
            assert not canonical.counts(by_byte), (name, text)
        cut = [vocab.tokens.index(data) for data in (b" th", b"e")]
        assert not canonical.counts(tuple(cut)), name


def test_two_newlines_are_one_token_or_two_as_the_next_byte_decides(
    tokenizers: dict[str, Vocab],
) -> None:
    gpt2 = tokenizers["gpt-2"]
    assert [gpt2.encode(text) for text in ("\n\n", "\n\nx")] == [[628], [198, 198, 87]]
    canonical = Canonical(gpt2)
    assert canonical.counts((628,))
    assert canonical.counts((198, 198))
    assert not canonical.counts((198, 198, 198, 198))
