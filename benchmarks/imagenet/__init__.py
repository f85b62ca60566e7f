"""Students of a real ImageNet-1K teacher, on photographs.

    python -m benchmarks.imagenet              all that is missing, then imagenet.json
    python -m benchmarks.imagenet --list       what is done and what is missing
    python -m benchmarks.imagenet --quick      a tiny run, for a check

A published network labels views of composed photographs, as SRe2L makes them. Codecs are fitted to
five views of six; small students learn from every codec's labels at 64 pixels, and are compared
with the teacher on crops of photographs and wallpapers that neither they nor a codec has seen, and
on crops of the photographs that they know on such wallpapers.
What is reported is the share of dense labels' gain over hard ones that is kept, in KL: whoever
distils wants the teacher, and these classes are far too many for the likeliest one to part codecs.

What is not as usual, and why:
  * The hard yardstick is what SRe2L's views have without a teacher: the classes of both pictures,
    weighted by the area that CutMix gave each, without smoothing. Smoothed labels are nearer to any
    teacher; shares over those are given beside, which are smaller.
  * Pruned and few views are those of LPLD and HALD with our codes of 8 bytes, whose codec was
    fitted to all views: better than theirs would be.
"""
