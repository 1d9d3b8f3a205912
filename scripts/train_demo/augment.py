"""From plans to training audio, on the training device: assembly, rooms, noise, telephones.

Everything is drawn anew for each clip. Levels are relative to bank.LEVEL, to which speech is
brought before, and the clip's own level is drawn last.
"""

from __future__ import annotations

import math

import torch
from bank import LEVEL
from clips import GAIN, HISS, LENGTH, SOURCE, SPEED, START, TWIST, WARP, Batch
from network import Mel
from torch import Tensor

RATE = 16000
EDGE = 80  # samples in which a segment comes and goes, since some are cut out of speech


class Augmenter:
    """bank: all audio, int16 on the device, one sample before it and three behind it."""

    def __init__(self, bank: Tensor) -> None:
        self.bank = bank  # with room for the interpolation's neighbours
        self.device = bank.device

    def uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, 1, device=self.device) * (high - low) + low

    def chance(self, n: int, share: float) -> Tensor:
        return torch.rand(n, 1, device=self.device) < share

    def some(self, chosen: Tensor) -> Tensor:
        """Indices of the clips that something happens to: what is costly is done to them only."""
        return chosen.nonzero()[:, 0].to(self.device, non_blocking=True)

    def assembled(self, plan: Tensor, n_samples: int) -> Tensor:
        """Segments at their places, resampled to their speeds (cubic interpolation), each with
        noise of its own."""
        starts = plan[..., START].clamp(max=2.0**40).long()
        t = torch.arange(n_samples, device=self.device).expand(len(plan), -1).contiguous()
        index = (torch.searchsorted(starts, t, right=True) - 1).clamp(min=0)

        def of(column: int) -> Tensor:
            return plan[..., column].gather(1, index)

        since = t - starts.gather(1, index)
        inside = (since >= 0) & (since < of(LENGTH))
        place = since.double() * of(SPEED)
        whole = place.floor()
        u = (place - whole).float()
        at = (of(SOURCE).long() + whole.long()) * inside
        a, b, c, d = (self.bank[k:].take(at).float() for k in range(4))
        y = b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
        edge = torch.minimum(since, of(LENGTH).long() - 1 - since).clamp(0, EDGE) / EDGE
        y = y * of(GAIN).float()
        if len(rows := self.some((plan[..., HISS] > 0).any(1))):
            noise = torch.randn(len(rows), n_samples + 1, device=self.device)
            tilt = self.uniform(len(rows), -0.4, 1)  # 1: half as much at 4 kHz, nothing at 8
            noise = (noise[:, 1:] + tilt * noise[:, :-1]) / (1 + tilt.square()).sqrt()
            y[rows] += noise * LEVEL * of(HISS)[rows].float()
        return y * edge * inside

    def tracts(self, plan: Tensor, n_frames: int) -> tuple[Tensor, Tensor]:
        """The vocal tract's factor and twist in each mel frame of the whole padded signal."""
        starts = plan[..., START].clamp(max=2.0**40)
        t = ((torch.arange(n_frames, device=self.device) - 32 * 8) * 160.0).expand(len(plan), -1)
        index = (torch.searchsorted(starts, t.double().contiguous() + 800, right=True) - 1).clamp(
            min=0
        )
        factor, twist = (plan[..., column].gather(1, index).float() for column in (WARP, TWIST))
        none = factor == 0
        return factor.masked_fill(none, 1.0), twist.masked_fill(none, 1.0)

    def music(self, rows: Tensor, n_samples: int) -> Tensor:
        start, length, gain = rows[:, :1].long(), rows[:, 1:2].long(), rows[:, 2:].float()
        t = torch.arange(n_samples, device=self.device)[None]
        return self.bank[start + t % length + 1].float() * gain

    def tones(self, b: int, n_samples: int) -> Tensor:
        """Steady, gliding and interrupted tones, with or without overtones."""
        t = torch.arange(n_samples, device=self.device)[None] / RATE
        first = torch.exp(self.uniform(b, math.log(80), math.log(5000)))
        glide = torch.where(self.chance(b, 0.3), self.uniform(b, -0.3, 0.3), 0.0)
        turns = 2 * math.pi * first * t * (1 + glide * torch.cos(t * self.uniform(b, 0.2, 6)))
        y = torch.sin(turns)
        for k, share in ((2, 0.3), (3, 0.3), (1.34, 0.2)):
            y = y + torch.sin(k * turns) * self.uniform(b, 0.1, 1) * self.chance(b, share)
        period, duty = (
            torch.exp(self.uniform(b, math.log(0.08), math.log(3))),
            self.uniform(b, 0.1, 0.9),
        )
        on = ((t / period + self.uniform(b, 0, 1)) % 1) < duty
        on = on | self.chance(b, 0.3)
        return y * on * 10 ** (self.uniform(b, -25, 12) / 20) * LEVEL

    def rooms(self, b: int, n: int) -> Tensor:
        """Spectra of the impulse responses of rooms."""
        t = torch.arange(6400, device=self.device)[None] / RATE
        room = torch.randn(b, 6400, device=self.device) * (t > 0.003)
        room = room * torch.exp(-6.9 * t / self.uniform(b, 0.08, 0.5))
        room = room / room.norm(dim=1, keepdim=True) * 10 ** (-self.uniform(b, 0, 14) / 20)
        room[:, 0] = 1
        return torch.fft.rfft(room, n)

    def noises(self, b: int, n: int) -> Tensor:
        """Spectra of noise of several colours and levels."""
        f = torch.linspace(0, RATE / 2, n // 2 + 1, device=self.device)[None]
        shape = (1 + f / 100) ** -self.uniform(b, 0, 1.2)
        size = LEVEL * 10 ** (-self.uniform(b, 0, 42) / 20) * n
        shape = shape * size / (shape.square().sum(1, keepdim=True) * 4).sqrt()
        noise = torch.randn(b, n // 2 + 1, 2, device=self.device) * shape[..., None]
        return torch.view_as_complex(noise)

    def channels(self, b: int, n: int) -> Tensor:
        """How much of each frequency microphones and lines let through."""
        f = torch.linspace(0, RATE / 2, n // 2 + 1, device=self.device)[None]
        octave = torch.log2(f / 250 + 0.2)
        curve = torch.zeros_like(f)
        for _ in range(3):
            waves = torch.cos(self.uniform(b, 0.3, 1.6) * octave + self.uniform(b, 0, 2 * math.pi))
            curve = curve + self.uniform(b, -4, 4) * waves
        channel = 10 ** (curve * self.chance(b, 0.7) / 20)
        low_pass = torch.sigmoid((self.uniform(b, 3000, 4000) - f) / 60)
        channel = channel * torch.where(self.chance(b, 0.4), low_pass, 1.0)
        high_pass = torch.sigmoid((f - self.uniform(b, 50, 320)) / 25)
        return channel * torch.where(self.chance(b, 0.25), high_pass, 1.0)

    def heard(self, x: Tensor, silent: Tensor, music: Tensor) -> Tensor:
        """Speech x in a room, with noise, music and tones, through a channel, at some level."""
        b, n_samples = x.shape
        n = fast_size(n_samples + 6400)
        spectrum = torch.fft.rfft(x, n)
        if len(rows := self.some(torch.rand(b) < 0.4)):
            spectrum[rows] *= self.rooms(len(rows), n)
        if len(rows := self.some(torch.rand(b) < 0.65)):
            spectrum[rows] += self.noises(len(rows), n)
        if len(rows := self.some(music[:, 2] > 0)):
            played = self.music(music.to(self.device)[rows], n_samples)
            spectrum[rows] += torch.fft.rfft(played, n)
        if len(rows := self.some(torch.rand(b) < torch.where(silent, 0.5, 0.05))):
            spectrum[rows] += torch.fft.rfft(self.tones(len(rows), n_samples), n)
        spectrum *= self.channels(b, n)
        y = torch.fft.irfft(spectrum, n)[:, :n_samples]
        y = (y * 10 ** (self.uniform(b, -26, 12) / 20)).clamp_(-1, 1)
        rows = self.some(torch.rand(b) < 0.06)
        telephone = torch.sign(y[rows]) * torch.log1p(255 * y[rows].abs()) / math.log(256)
        telephone = torch.round(telephone * 127) / 127  # mu-law, 8 bits
        y[rows] = torch.sign(telephone) * (256 ** telephone.abs() - 1) / 255
        return y.mul_(32768).round_().div_(32768)

    @torch.no_grad()
    def audio(self, batch: Batch) -> Tensor:
        """What is heard [clips, samples]."""
        plan, music = torch.as_tensor(batch.plan), torch.as_tensor(batch.music)
        silent = plan[:, 0, START].isinf()
        plan = plan.to(self.device, non_blocking=True)
        return self.heard(self.assembled(plan, batch.n_audio * 1280), silent, music)

    @torch.no_grad()
    def features(self, batch: Batch, mel: Mel) -> Tensor:
        """Mel frames [clips, 128, 8 * n_slots] of a batch."""
        plan = torch.as_tensor(batch.plan).to(self.device, non_blocking=True)
        frames = mel(self.audio(batch), batch.n_slots)
        frames = mel.warped(frames, *self.tracts(plan, frames.shape[-1]))
        band = torch.arange(frames.shape[1], device=self.device)[None]
        masked = torch.zeros(len(plan), frames.shape[1], dtype=torch.bool, device=self.device)
        for _ in range(2):  # now and then a few bands are masked
            low, width = self.uniform(len(plan), 0, 120), self.uniform(len(plan), 0, 16)
            width = width * self.chance(len(plan), 0.4)
            masked |= (band >= low) & (band < low + width)
        return torch.where(masked[..., None], frames.mean((1, 2), keepdim=True), frames)


def fast_size(n: int) -> int:
    """The next even size without a prime factor above 7: Fourier transforms like it."""
    while True:
        n += n % 2
        rest = n
        for p in (2, 3, 5, 7):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 2
