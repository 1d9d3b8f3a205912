"""Slots to words, words to segments, segments to subtitles, and all of them in every format."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from rich.cells import cell_len
from voxtral_edge.text import formats, subtitles
from voxtral_edge.text.subtitles import Segment, Segments

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "transcript.schema.json").read_text())
PAD, WORD, FIRST = 32, 33, 1000
TOKENS = SimpleNamespace(token_word=WORD, n_special=FIRST)


def slots(*what: str) -> list[vox.Piece]:
    """Slots: "." a pad, "|" a marker, "" the begin of a character, all else text."""
    ids = {".": PAD, "|": WORD}
    return [
        vox.Piece("" if text in ids else text, ids.get(text, FIRST), 80 * i, 80 * i + 80)
        for i, text in enumerate(what)
    ]


def words(*what: str) -> list[tuple[str, int, int]]:
    return [(w.text, w.start_ms, w.end_ms) for w in vox.words(slots(*what), TOKENS)]


# ---- words --------------------------------------------------------------------------------------


def test_a_word_ends_with_the_slot_of_its_marker() -> None:
    found = words(*".........", "|", " pl", "ate", ".", ".", "|", " and", ".")
    assert found == [(" plate", 350, 800), (" and", 930, 1200)]


def test_a_word_begins_after_the_one_before_it() -> None:
    assert words(".", ".", ".", "|", " straw", "|", " berry") == [
        (" straw", 0, 320),
        (" berry", 320, 480),
    ]


def test_words_of_a_group_share_its_time_by_their_letters() -> None:
    found = words(*".........", "|", " of", " the", " king")
    assert found == [(" of", 0, 178), (" the", 178, 445), (" king", 445, 800)]


def test_punctuation_and_parts_of_characters_belong_to_their_word() -> None:
    found = words(*"....", "|", " caf", "", "\u00e9", ",", ".", "|", " ol", "\u00e9", "!")
    assert [text for text, _, _ in found] == [" caf\u00e9,", " ol\u00e9!"]


def test_a_word_comes_as_soon_as_nothing_can_follow_it() -> None:
    maker = vox.words(iter(slots("|", " one", ".", ".", "|", " two")), TOKENS)
    source = slots("|", " one", ".")
    assert next(vox.words(iter(source), TOKENS)).text == " one"
    assert [w.text for w in maker] == [" one", " two"]


def test_text_without_a_marker_stands_for_its_own_slot() -> None:
    assert words(".", ".", " a", ".", ".", " b") == [(" a", 150, 240), (" b", 390, 480)]


def test_no_words() -> None:
    assert words() == words(".", "|", ".") == words("|", " ", ".") == []


def test_words_of_any_tokens_join_to_the_text(tiny: vox.Model, noise: np.ndarray) -> None:
    """The random model says everything in any order; times never run backwards."""
    for delay_ms in (80, 480, 2400):
        found = tiny.transcribe(noise, delay_ms=delay_ms)
        assert len(found.words) > 5
        assert "".join(w.text for w in found.words).strip() == found.text.strip()
        times = [t for w in found.words for t in (w.start_ms, w.end_ms)]
        assert times == sorted(times)
        assert times[0] >= 0


def test_words_of_speech_are_where_the_sound_is(demo: vox.Model, digits: np.ndarray) -> None:
    """The energy of the clip lies inside the words, and hardly any outside."""
    found = demo.transcribe(digits)
    assert " ".join(w.text.strip() for w in found.words) == found.text
    inside = np.zeros(len(digits), bool)
    for word in found.words:
        inside[word.start_ms * 16 : word.end_ms * 16] = True
    assert inside.mean() < 0.5
    assert (digits[inside] ** 2).sum() > 0.9 * (digits**2).sum()


# ---- confidence ---------------------------------------------------------------------------------


def sure(text: str, confidence: float, *others: tuple[str, float]) -> vox.Piece:
    alternatives = tuple(vox.Alternative(*other) for other in others)
    return vox.Piece(text, FIRST, 0, 80, confidence, alternatives)


def weighed(*texts: vox.Piece) -> list[tuple[str, float | None, list[tuple[str, float]]]]:
    (marker,) = slots("|")
    return [
        (word.text, word.confidence, [(a.text, round(a.confidence, 6)) for a in word.alternatives])
        for word in vox.words([marker, *texts], TOKENS)
    ]


def test_a_word_is_as_sure_as_all_its_tokens() -> None:
    (six, and_) = weighed(
        sure(" six", 0.5, (" fif", 0.3), (" nine", 0.1)),
        sure("teen", 0.5, ("ty", 0.4), (" teen", 0.05)),
        sure(" and", 0.9, (" an", 0.05), (" end", 0.01)),
    )
    # Replacing one token; what would be two words is none.
    assert six == (" sixteen", 0.25, [(" sixty", 0.2), (" fifteen", 0.15)])
    assert and_ == (" and", 0.9, [(" an", 0.05), (" end", 0.01)])


def test_a_torn_character_counts_and_has_no_alternatives() -> None:
    found = weighed(
        sure(" caf", 0.5, (" saf", 0.25)),
        sure("", 0.5, ("x", 0.1)),
        sure("\u00e9", 0.5, ("y", 0.1)),
        sure("s", 0.5, ("\ufffd", 0.4), ("t", 0.1)),
    )
    assert found == [(" caf\u00e9s", 0.0625, [(" saf\u00e9s", 0.03125), (" caf\u00e9t", 0.0125)])]


def test_words_of_slots_that_do_not_know() -> None:
    assert weighed(*slots(" one", " two")) == [(" one", None, []), (" two", None, [])]
    assert weighed(sure(" one", 0.5), *slots("s")) == [(" ones", None, [])]


def test_confidence_of_the_demo_model(demo: vox.Model, digits: np.ndarray) -> None:
    plain = demo.transcribe(digits)
    asked = demo.transcribe(digits, confidence=True, alternatives=3)
    assert (asked.text, asked.tokens) == (plain.text, plain.tokens)
    assert all(word.confidence is None and not word.alternatives for word in plain.words)
    for word in asked.words:
        assert word.confidence is not None
        assert 0 < word.confidence <= 1
        assert 0 < len(word.alternatives) <= 3
        assert all(other.text != word.text for other in word.alternatives)
        shares = [other.confidence for other in word.alternatives]
        assert shares == sorted(shares, reverse=True)
    for piece in asked.pieces:
        assert piece.confidence is not None
        assert len(piece.alternatives) == 3
        assert piece.confidence + sum(a.confidence for a in piece.alternatives) <= 1 + 1e-6
    few = demo.transcribe(digits, confidence=True)
    assert [word.confidence for word in few.words] == [word.confidence for word in asked.words]
    assert not any(word.alternatives for word in few.words)


def test_noise_makes_words_unsure(demo: vox.Model, digits: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal(len(digits)).astype(np.float32)
    shares = []
    for loudness in (0.0, 0.05):
        words = demo.transcribe(digits + loudness * noise, confidence=True).words
        assert words
        shares.append(np.mean([word.confidence for word in words]))
    assert shares[1] < shares[0]


def test_confidence_does_not_depend_on_the_cut(tiny: vox.Model, noise: np.ndarray) -> None:
    whole = tiny.transcribe(noise, alternatives=2)
    assert whole.pieces
    cut = tiny.transcribe((noise[i : i + 999] for i in range(0, len(noise), 999)), alternatives=2)
    assert cut.words == whole.words
    assert cut.pieces == whole.pieces


def test_no_words_if_they_are_not_wanted(demo: vox.Model, digits: np.ndarray) -> None:
    plain, bare = demo.transcribe(digits), demo.transcribe(digits, word_timestamps=False)
    assert (bare.text, bare.pieces, bare.tokens) == (plain.text, plain.pieces, plain.tokens)
    assert bare.words == bare.segments == ()
    assert json.loads(bare.to_json())["words"] == []
    assert bare.to_srt() == ""


# ---- segments -----------------------------------------------------------------------------------


def said(text: str, start_ms: int = 0, letter_ms: int = 60, pause_ms: int = 0) -> list[vox.Word]:
    """Words of a text spoken evenly; a dash alone stands for a pause of one second."""
    found, at = [], start_ms
    for part in text.split():
        if part == "-":
            at += 1000
            continue
        end = at + letter_ms * len(part)
        found.append(vox.Word(" " + part, at, end))
        at = end + pause_ms
    return found


def segments(words: list[vox.Word]) -> list[Segment]:
    maker = Segments()
    return [segment for word in words for segment in maker.push(word)] + maker.end()


def test_a_pause_ends_a_segment() -> None:
    found = segments(said("one two - three"))
    assert [(s.text, s.start_ms, s.end_ms) for s in found] == [
        ("one two", 0, 360),
        ("three", 1360, 1660),
    ]


def test_a_long_sentence_ends_a_segment_and_short_ones_share_it() -> None:
    found = segments(said("Yes. I think so. This is a sentence of some length. And another one."))
    assert [s.text for s in found] == [
        "Yes. I think so. This is a sentence of some length.",
        "And another one.",
    ]


def test_a_full_segment_is_cut_at_the_best_place() -> None:
    clause = "when all of the boats had come home again, we went down to the old harbour and sang"
    assert [s.text for s in segments(said(clause))] == [clause]
    more = segments(said(clause + " a song"))
    assert [s.text for s in more] == [clause[:42], clause[43:] + " a song"]
    comma = (
        "we went down to the old harbour with all of our friends, and then sang all of the songs"
    )
    assert segments(said(comma))[0].text.endswith("friends,")


def test_segments_keep_all_words_and_the_rules() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        words, at = [], 0
        for _ in range(random.integers(1, 80)):
            text = " " + "x" * random.integers(1, 14) + random.choice(["", "", "", ",", ".", "?"])
            start = at + int(random.choice([0, 80, 320, 1200], p=[0.6, 0.2, 0.15, 0.05]))
            at = start + int(random.integers(0, 900))
            words.append(vox.Word(text, start, at))
        found = segments(words)
        assert " ".join(s.text for s in found) == "".join(w.text for w in words).strip()
        for segment in found:
            lines = subtitles.lines(segment.text)
            assert 1 <= len(lines) <= 2
            assert max(map(cell_len, lines)) <= 42
            assert segment.end_ms - segment.start_ms <= 7000
        cues = [
            subtitles.cue(segment, after.start_ms if after else None)
            for segment, after in zip(found, [*found[1:], None], strict=True)
        ]
        for cue, after in itertools.pairwise(cues):
            assert cue.start_ms < cue.end_ms
            assert cue.end_ms <= max(after.start_ms, cue.start_ms + 1)


# ---- subtitles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one line", ["one line"]),
        ("x" * 42, ["x" * 42]),
        (
            "when all the boats came home again, we went down to the harbour",
            ["when all the boats came home again,", "we went down to the harbour"],
        ),
        ("a b " * 20, [("a b " * 10).strip(), ("a b " * 10).strip()]),
        ("x" * 60, ["x" * 42, "x" * 18]),
        ("\u4f60" * 30, ["\u4f60" * 21, "\u4f60" * 9]),  # each is two columns wide
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    assert subtitles.lines(text) == lines


@pytest.mark.parametrize(
    ("next_start_ms", "end_ms"),
    [(None, 3000), (5000, 3000), (3040, 2960), (2500, 2420), (1000, 1001)],
)
def test_a_subtitle_stays_until_it_is_read_if_there_is_time(
    next_start_ms: int | None, end_ms: int
) -> None:
    """34 characters take two seconds to read; they were spoken in half a second."""
    cue = subtitles.cue(Segment("x" * 34, 1000, 1500), next_start_ms)
    assert (cue.start_ms, cue.end_ms) == (1000, end_ms)


def test_a_short_subtitle_stays_for_a_second() -> None:
    assert subtitles.cue(Segment("yes", 1000, 1200), None).end_ms == 2000


# ---- formats ------------------------------------------------------------------------------------


def transcript(*what: str) -> vox.Transcript:
    return vox.Transcript.of(slots(*what), TOKENS, duration_s=9.5, model="m", delay_ms=480)


SPOKEN = transcript(
    *".........", "|", " one", " <", "&", *"....................", "|", " two", " -->", " x", "."
)


def test_srt() -> None:
    assert SPOKEN.to_srt() == (
        "1\n00:00:00,350 --> 00:00:01,350\none <&\n\n"
        "2\n00:00:02,090 --> 00:00:03,090\ntwo --> x\n\n"
    )


def test_vtt() -> None:
    assert SPOKEN.to_vtt() == (
        "WEBVTT\n\n00:00:00.350 --> 00:00:01.350\none &lt;&amp;\n\n"
        "00:00:02.090 --> 00:00:03.090\ntwo --&gt; x\n\n"
    )


def test_tsv() -> None:
    assert SPOKEN.to_tsv() == "start\tend\ttext\n350\t800\tone <&\n2090\t2720\ttwo --> x\n"


def test_hours() -> None:
    late = Segment("late", 3_600_000 * 11 + 62_003, 3_600_000 * 12)
    srt = formats.Srt(formats.Origin(None, "m", 480))
    assert srt.segment(late) == ""
    assert srt.end(0) == "1\n11:01:02,003 --> 12:00:00,000\nlate\n\n"


def test_json_is_what_the_schema_says(tiny: vox.Model, noise: np.ndarray) -> None:
    checker = jsonschema.Draft202012Validator(SCHEMA)
    checker.check_schema(SCHEMA)
    sure = tiny.transcribe(noise, alternatives=2)
    assert "alternatives" in sure.to_json()
    for found in (SPOKEN, transcript(), tiny.transcribe(noise), sure):
        line = found.to_json()
        assert line.count("\n") == 1
        shown = json.loads(line)
        checker.validate(shown)
        assert shown["text"] == found.text
        assert shown["tokens"] == list(found.tokens)
        assert [w["text"] for w in shown["words"]] == [w.text for w in found.words]
        with pytest.raises(jsonschema.ValidationError):
            checker.validate({**shown, "words": [{"text": "x", "start_ms": "0", "end_ms": 1}]})
        del shown["words"]
        with pytest.raises(jsonschema.ValidationError):
            checker.validate(shown)


def test_fed_slot_by_slot_is_as_at_once(tiny: vox.Model, noise: np.ndarray) -> None:
    """Live output and a finished transcript say the same."""
    found = tiny.transcribe(noise)
    origin = formats.Origin(None, tiny.name, tiny.default_delay_ms)
    names = ["txt", "json", "srt", "vtt", "tsv"]
    feed = formats.Feed(tiny, [formats.FORMATS[name](origin) for name in names])
    texts = feed.begin()
    for slot in found.slots():
        texts = [a + b for a, b in zip(texts, feed.slot(slot), strict=True)]
    texts = [a + b for a, b in zip(texts, feed.end(found.duration_s), strict=True)]
    assert texts == [
        found.text + "\n", found.to_json(), found.to_srt(), found.to_vtt(), found.to_tsv()
    ]  # fmt: skip


def test_jsonl_tells_each_word_at_once() -> None:
    feed = formats.Feed(TOKENS, [formats.Jsonl(formats.Origin("x.wav", "m", 480))])
    lines = [feed.slot(slot)[0] for slot in slots("|", " one", ".", ".", "|", " two")]
    lines += feed.end(1.0)
    assert [len(line) > 0 for line in lines] == [False, False, True, False, False, False, True]
    word = jsonschema.Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": "#/$defs/word"})
    for line, text in zip(filter(None, lines), (" one", " two"), strict=True):
        shown = json.loads(line)
        assert (shown.pop("file"), shown["text"]) == ("x.wav", text)
        word.validate(shown)


def test_transcribe_tells_its_progress(demo: vox.Model) -> None:
    told: list[tuple[float, float | None]] = []
    path = SAMPLES / "digits_3.wav"
    found = demo.transcribe(path, on_progress=lambda *step: told.append(step))
    done = [seconds for seconds, _ in told]
    assert done == sorted(done)
    assert len(done) == len(found.tokens)
    assert done[-1] == pytest.approx(found.duration_s)
    assert {total for _, total in told} == {found.duration_s}
    told.clear()
    with path.open("rb") as file:
        demo.transcribe(file, on_progress=lambda *step: told.append(step))
    assert {total for _, total in told} == {None}


def test_bytes_of_a_file(demo: vox.Model) -> None:
    path = SAMPLES / "digits_3.wav"
    assert demo.transcribe(path.read_bytes()) == demo.transcribe(path)
    with pytest.raises(vox.AudioError, match=re.escape("numpy.frombuffer(audio, numpy.int16)")):
        demo.transcribe(bytes(1000))
