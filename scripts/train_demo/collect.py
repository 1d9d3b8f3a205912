"""Step 1, collect: everything that is recorded rather than made, in one file.

    python collect.py DIGITS SPOKEN --out work

DIGITS: the folder of the Free Spoken Digit Dataset's WAV files ({digit}_{speaker}_{index}.wav).
SPOKEN: a folder with orders/ and words/, recordings of coffee orders and of single words by many
people, in each an index.json of their files, groups of speakers, words and times.
Single words of the Asterisk prompts, speech that is not to be written (their French and Spanish
prompts, and what people say in some thirty languages in games for children), numbers that people
say in games and clocks, and music come from Debian packages and one of PyPI, the tokens of the
vocabulary from demo/tekken.json.
Writes work/recorded.npz, work/tokens.json, work/other_words.txt (English words that do not sound
like any of the vocabulary), work/phonemes.json (all English words for Hibari),
work/foreign_words.json (words of other languages), and for judging
other words, Italian and Russian prompts and pieces of music that are not trained on:
other_words.txt, foreign.npz and music.npz in work/judge.

Orders, single words and unseen digits are in recorded.npz with the names of their speakers, all of
them: train.py leaves out whom it is told to (folds.py).
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections import defaultdict
from pathlib import Path
from random import Random

import av
import captcha
import numpy as np
import soundfile
import tiktoken
from bank import MARGIN, RATE, Bank, loudness, trimmed
from hibari.g2p import G2P
from vocabulary import (
    DAYS,
    DIGITS,
    MONTHS,
    ORDINALS,
    POWERS,
    SPELLING,
    TEENS,
    TENS,
    VOCABULARY,
    WORD_ID,
)  # fmt: skip
from voices import FOREIGN, Espeak, at_16k

ROOT = Path(__file__).parents[2]
SOUNDS = Path("/usr/share/asterisk/sounds")
MUSIC = Path("/usr/share/asterisk/moh")
DICTIONARIES = Path("/usr/share/dict")
N_OTHER_HELD = 500  # words
N_UNSEEN = 5  # recordings 0..4 of each speaker are never trained on
PROMPTS_ABROAD = {
    "fr": "fr_CA_f_June",
    "fr-armelle": "fr",
    "es": "es_MX_f_Allison",
    "es-co": "es",
}  # fmt: skip
PROMPTS_HELD = {"it": "it_IT_m_Carlo", "ru": "ru_RU_f_IvrvoiceRU"}
# Recordings of games: their folder, and the language in a path from there. Italian and Russian are
# for judging, and the English alphabets have "oh", "you" and "are" in them.
GAMES = (
    (Path("/usr/share/klettres"), re.compile(r"(?P<language>[^/]+)/(?:alpha|syllab)/[^/]+\.ogg")),
    (Path("/usr/share/ktuberling/sounds"), re.compile(r"(?P<language>[^/]+)/[^/]+\.ogg")),
    (Path("/usr/share/tuxpaint/stamps"), re.compile(r".*_desc_(?P<language>[a-z]+)\.ogg")),
)
GAMES_HELD = {"it", "ru", "klettres-en", "klettres-en_GB"}
# Numbers that people say in games and clocks: the voice, and its file of a number or a word.
COUNTED = {
    "tuxpaint": "/usr/share/tuxpaint/stamps/symbols/math/{number}.ogg",
    "tuxpaint-gb": "/usr/share/tuxpaint/stamps/symbols/math/{number}_en_GB.ogg",
    "csmash": "/usr/share/games/csmash/wav/{word}.wav",
    "saytime": "/usr/share/saytime/{number}.au",
    "scid": "/usr/share/scid/sounds/{number}.wav",
    "captcha": str(Path(captcha.__file__).with_name("data") / "{number}" / "default.wav"),
}
MUSIC_HELD = ("manolo_camp-morning_coffee", "reno_project-system")

PROMPTS = {
    **{f"digits/{i}": word for i, word in enumerate([*DIGITS, *TEENS])},
    **{f"digits/{20 + 10 * i}": word for i, word in enumerate(TENS)},
    **{f"digits/h-{i + 1}": word for i, word in enumerate(ORDINALS)},
    **{f"digits/day-{(i + 1) % 7}": word for i, word in enumerate(DAYS)},
    **{f"digits/mon-{i}": word for i, word in enumerate(MONTHS)},
    **{f"digits/{w}": w for w in [*POWERS, "oh", "today", "tomorrow", "yesterday", "oclock", "at"]},
    **{f"phonetic/{word[0]}_p": word for word in SPELLING},
    **{word: word for word in ["hello", "goodbye", "number", "minutes", "seconds", "your", "with"]},
    **{f"vm-{word}": word for word in ["message", "last", "for", "from", "first"]},
}


def decode(path: Path) -> np.ndarray:
    """A recording, or its first channel, as int16 at 16 kHz.

    Some of the packages' files are empty; G.722, GSM and those of saytime have no header.
    """
    if path.suffix not in (".g722", ".gsm"):
        raw = {"format": "RAW", "subtype": "ULAW", "samplerate": 8000, "channels": 1}
        samples, rate = soundfile.read(
            path, dtype="int16", always_2d=True, **raw if path.suffix == ".au" else {}
        )
        return at_16k(samples[:, 0], rate)
    with av.open(str(path), format=path.suffix[1:]) as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    samples = np.concatenate([np.zeros(0, np.int16), *frames])
    return at_16k(samples, 8000) if path.suffix == ".gsm" else samples


def add_digits(bank: Bank, folder: Path) -> None:
    for path in sorted(folder.glob("*.wav")):
        digit, speaker, index = path.stem.split("_")
        samples = decode(path)
        end = loudness(samples)[1] / 16
        kind = "unseen" if int(index) < N_UNSEEN else "digit"
        bank.add(samples, [WORD_ID[DIGITS[int(digit)]]], [end], kind, f"fsdd-{speaker}")


def add_spoken(bank: Bank, folder: Path, kind: str) -> None:
    """Recordings with word times, cut to their speech and a little beside it."""
    for row in json.loads((folder / "index.json").read_text()):
        samples, _ = soundfile.read(folder / row["file"], dtype="int16")
        times = row["words"]
        first = max(0, int(RATE * (times[0]["start"] - MARGIN)))
        last = min(len(samples), int(RATE * (times[-1]["end"] + MARGIN)))
        ids = [WORD_ID[word["word"]] for word in times]
        ends = [1000 * (word["end"] - first / RATE) for word in times]
        bank.add(samples[first:last], ids, ends, kind, row["group"])


def add_prompts(bank: Bank) -> None:
    for name, word in PROMPTS.items():
        samples, _ = trimmed(decode(SOUNDS / "en_US_f_Allison" / f"{name}.g722"), [])
        kind = "digit" if word in [*DIGITS, "oh"] else "word"
        bank.add(samples, [WORD_ID[word]], [loudness(samples)[1] / 16], kind, "allison")


def add_counted(bank: Bank) -> None:
    """Numbers to twenty, and tens, of which each voice has some."""
    numbers = [*enumerate([*DIGITS, *TEENS]), *((20 + 10 * i, w) for i, w in enumerate(TENS))]
    for voice, pattern in COUNTED.items():
        for number, word in numbers:
            path = Path(pattern.format(number=number, word=word))
            if not path.exists():
                continue
            samples, _ = trimmed(decode(path), [], 0.03)
            kind = "digit" if word in DIGITS else "word"
            bank.add(samples, [WORD_ID[word]], [loudness(samples)[1] / 16], kind, voice)


def add_foreign(bank: Bank, folders: dict[str, str], seconds: float) -> None:
    """Whole prompts of each language, up to so many seconds."""
    for language, folder in folders.items():
        left = seconds
        paths = sorted([*(SOUNDS / folder).glob("*.g722"), *(SOUNDS / folder).glob("*.gsm")])
        Random(language).shuffle(paths)
        for path in paths:
            samples = decode(path)
            if left > 0 and 0.5 < len(samples) / 16000 < 8 and np.abs(samples).max() > 1000:
                samples, _ = trimmed(samples, [])
                bank.add(samples, [], [], "prompt", f"asterisk-{language}")
                left -= len(samples) / 16000


def add_games(bank: Bank, seconds: float) -> None:
    """What people say in games, up to so many seconds of each voice: a language of a game.

    Of English words those that are not to be written.
    """
    for folder, pattern in GAMES:
        left: dict[str, float] = defaultdict(lambda: seconds)
        paths = sorted(folder.rglob("*.ogg"))
        Random(folder.name).shuffle(paths)
        for path in paths:
            found = pattern.fullmatch(path.relative_to(folder).as_posix())
            if not found:
                continue
            language, voice = found["language"], f"{folder.parts[3]}-{found['language']}"
            known = language == "en" and path.stem.split("_")[-1] in WORD_ID
            if known or language in GAMES_HELD or voice in GAMES_HELD:
                continue
            samples = decode(path)
            loud = np.abs(samples.astype(np.int32)).max() > 1000
            if left[voice] > 0 and 0.15 < len(samples) / RATE < 8 and loud:
                samples, _ = trimmed(samples, [])
                bank.add(samples, [], [], "prompt", voice)
                left[voice] -= len(samples) / RATE


def add_music(bank: Bank, held: bool, seconds: float) -> None:
    for path in sorted(MUSIC.glob("*.g722")):
        if (path.stem in MUSIC_HELD) == held:
            samples = decode(path)
            middle = len(samples) // 2
            half = min(int(seconds * 8000), middle)
            bank.add(samples[middle - half : middle + half], [], [], "music", path.stem)


def tokens() -> dict[str, dict[str, object]]:
    """Token ids of each word, with the space before it, and the bytes of each token in hex."""
    tekken = json.loads((ROOT / "demo" / "tekken.json").read_text())
    config = tekken["config"]
    n_special = config["default_num_special_tokens"]
    ranks = {
        base64.b64decode(entry["token_bytes"]): entry["rank"]
        for entry in tekken["vocab"][: config["default_vocab_size"] - n_special]
    }
    encoding = tiktoken.Encoding(
        "demo", pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={}
    )
    words = {word: [n_special + t for t in encoding.encode(f" {word}")] for word in VOCABULARY}
    pieces = {n_special + rank: piece.hex() for piece, rank in ranks.items()}
    return {"words": words, "bytes": pieces}


def distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def other_words(n: int) -> list[str]:
    """Dictionary words of which no one could say that a word of the vocabulary was said."""
    espeak = Espeak()
    known = [espeak.phonemes(word) for word in VOCABULARY]
    words = [
        w
        for w in (DICTIONARIES / "american-english").read_text().split()
        if w.isascii() and w.isalpha() and w.islower()
    ]
    Random("other words").shuffle(words)
    found: list[str] = []
    for word in words:
        sound = espeak.phonemes(word)
        far = all(
            distance(sound, other) > max(1, 0.4 * len(other))
            and not (len(other) > 3 and other in sound)
            for other in known
        )
        if far and 3 <= len(word) <= 12:
            found.append(word)
        if len(found) == n:
            break
    return found


def foreign_words(n: int) -> dict[str, list[str]]:
    """Words of each of the languages' lists."""
    found = {}
    for name in sorted(set(FOREIGN.values())):
        data = (DICTIONARIES / name).read_bytes()
        try:
            words = data.decode().split()
        except UnicodeDecodeError:
            words = data.decode("latin-1").split()
        words = [w for w in words if w.isalpha() and 4 <= len(w) <= 12 and w not in WORD_ID]
        found[name] = Random(name).sample(words, n)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("digits", type=Path)
    parser.add_argument("spoken", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work"))
    parser.add_argument("--seconds", type=float, default=90, help="of each piece of music")
    parser.add_argument("--of-voice", type=float, default=600, help="seconds of speech in games")
    parser.add_argument("--words", type=int, default=4000, help="that are not to be written")
    args = parser.parse_args()
    (args.out / "judge").mkdir(parents=True, exist_ok=True)
    bank = Bank()
    add_digits(bank, args.digits)
    add_spoken(bank, args.spoken / "orders", "spoken-order")
    add_spoken(bank, args.spoken / "words", "spoken-name")
    add_prompts(bank)
    add_counted(bank)
    add_foreign(bank, PROMPTS_ABROAD, float("inf"))
    add_games(bank, args.of_voice)
    add_music(bank, False, args.seconds)
    bank.save(args.out / "recorded.npz")
    foreign, music = Bank(), Bank()
    add_foreign(foreign, PROMPTS_HELD, 4 * args.seconds)
    add_music(music, True, args.seconds)
    foreign.save(args.out / "judge" / "foreign.npz")
    music.save(args.out / "judge" / "music.npz")
    (args.out / "tokens.json").write_text(json.dumps(tokens()))
    words = json.dumps(foreign_words(args.words // 2))
    (args.out / "foreign_words.json").write_text(words)
    others = other_words(args.words + N_OTHER_HELD)
    (args.out / "other_words.txt").write_text("\n".join(others[: args.words]) + "\n")
    (args.out / "judge" / "other_words.txt").write_text("\n".join(others[args.words :]) + "\n")
    g2p = G2P()
    said = {word: g2p(word) for word in [*VOCABULARY, *others]}
    (args.out / "phonemes.json").write_text(json.dumps(said))
    print(f"{len(bank.segments)} segments, {bank.n_samples / 16000:.0f} s")


if __name__ == "__main__":
    main()
