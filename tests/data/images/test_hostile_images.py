"""Images that are damaged where nobody looks for it."""

from PIL import GifImagePlugin, Image

from eightgig.data.images.decoding import inspect_image


def test_a_film_that_ends_in_its_second_frame_gives_its_first(tmp_path, encode, smooth_pixels):
    """Wherever it ends; Pillow looks into the second frame when it is asked whether there is one."""
    images = [Image.fromarray(smooth_pixels(seed, 30, 40)) for seed in (0, 1)]
    whole, alone = encode(images[0], "GIF", save_all=True, append_images=images[1:]), encode(images[0], "GIF")
    (tmp_path / "whole.gif").write_bytes(whole)
    wanted = inspect_image(tmp_path / "whole.gif", max_pixels=10**6, min_side=1)
    assert wanted.note == "animated: first frame"
    for end in range(len(alone), len(alone) + 60):
        (tmp_path / "a.gif").write_bytes(whole[:end])
        found = inspect_image(tmp_path / "a.gif", max_pixels=10**6, min_side=1)
        assert found.content_hash == wanted.content_hash


def test_whatever_pillow_raises_then(tmp_path, encode, smooth_pixels, monkeypatch):
    def fail(_):
        raise IndexError("index out of range")

    (tmp_path / "a.gif").write_bytes(encode(smooth_pixels(0, 30, 40), "GIF"))
    monkeypatch.setattr(GifImagePlugin.GifImageFile, "is_animated", property(fail))
    assert inspect_image(tmp_path / "a.gif", max_pixels=10**6, min_side=1).note == "animated: first frame"
