"""Text out: slots become words, subtitles, transcripts and the formats of other programs."""
