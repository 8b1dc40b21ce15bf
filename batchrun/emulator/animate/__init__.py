"""A still picture to a short clip: a camera that moves through the picture as the prompt says, with depth.

`prompt` reads what is wanted into a `plan` (pure), `camera` turns the plan into curves (pure), `subject` and `depth` guess
what stands in front, `warp` says which point of the picture each pixel of a frame shows, `light` and `weather` draw on
top, `encode` writes the file; `clip` goes through them in that order. Nothing is generated: what a moving picture
cannot show is reported with the plan, not faked. The heavy libraries are imported with these modules; `render` does
that late.
"""
