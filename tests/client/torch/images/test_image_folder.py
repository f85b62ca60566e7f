"""Images in class directories: their order, their pixels, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelcast.errors import DataError, InvalidRequestError
from labelcast.torch import SampleTable
from labelcast.torch.images.image_folder import EXTENSIONS, ImageFolder
from tests.factories.unreadable import unreadable

FILES = [
    "zebra/b.PNG",
    "zebra/a.jpg",
    "zebra/sub/c.bmp",
    "zebra/sub-1/c.bmp",
    "ant/10.png",
    "ant/9.png",
    "ant/deep/er/1.webp",
    "Bee/x.tiff",
]


def draw(path: Path, *, seed: int = 0, size: tuple[int, int] = (9, 6), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if mode == "L" else (*size[::-1], len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode=None).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(FILES):
        draw(tmp_path / "images" / name, seed=number)
    (tmp_path / "images" / "README.txt").write_text("no class")
    (tmp_path / "images" / "ant" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def walked(root: Path) -> list[str]:
    """The rule, written out: classes sorted, then directories as os.walk names them, then files."""
    found = []
    for name in sorted(entry.name for entry in root.iterdir() if entry.is_dir()):
        for directory, _, files in sorted(os.walk(root / name)):
            found += [
                os.path.relpath(Path(directory) / file, root)
                for file in sorted(files)
                if Path(file).suffix.lower() in EXTENSIONS
            ]
    return found


def test_the_order_is_that_of_the_walk(root: Path) -> None:
    folder = ImageFolder(root)
    assert list(folder.paths) == walked(root)
    assert len(folder) == len(FILES)
    assert folder.class_names == ("Bee", "ant", "zebra")
    assert folder.hard_labels.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert folder.sample_ids.dtype == np.uint64
    assert folder.sample_ids.tolist() == list(range(len(FILES)))


def test_pixels_are_those_of_the_file(root: Path) -> None:
    folder = ImageFolder(root)
    at = folder.paths.index("ant/9.png")
    image, label = folder[at]
    assert (image.dtype, tuple(image.shape), label) == (torch.float32, (3, 6, 9), 1)
    pixels = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert np.array_equal((image * 255).round().numpy(), pixels.transpose(2, 0, 1))
    assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_a_folder_is_a_data_set(root: Path) -> None:
    table = SampleTable(ImageFolder(root))
    assert table.hard_labels().tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert table.images(table.sample_ids[:3]).shape == (3, 3, 6, 9)
    assert table.digest() == SampleTable(ImageFolder(str(root))).digest()


def test_grey_and_colour_become_what_is_asked_for(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "grey.png", mode="L")
    draw(tmp_path / "a" / "see-through.png", mode="RGBA")
    colour, grey = ImageFolder(tmp_path), ImageFolder(tmp_path, channels=1)
    assert [tuple(colour[at][0].shape) for at in range(2)] == [(3, 6, 9)] * 2
    assert [tuple(grey[at][0].shape) for at in range(2)] == [(1, 6, 9)] * 2
    assert torch.equal(colour[0][0], grey[0][0].expand(3, 6, 9))


def test_exif_does_not_turn_an_image(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "a" / "plain.png") as image:
        image.save(tmp_path / "a" / "turned.png", exif=exif)
    folder = ImageFolder(tmp_path)
    assert torch.equal(folder[0][0], folder[1][0])


@pytest.mark.parametrize("size", [(9, 6), (6, 9), (5, 5), (100, 7)])
def test_a_resized_image_is_a_square_from_the_centre(tmp_path: Path, size: tuple[int, int]) -> None:
    draw(tmp_path / "a" / "1.png", size=size)
    (image, _), (small, _) = ImageFolder(tmp_path, size=5)[0], ImageFolder(tmp_path, size=3)[0]
    assert (tuple(image.shape), tuple(small.shape)) == ((3, 5, 5), (3, 3, 3))
    if min(size) == 5:
        assert torch.equal(image, ImageFolder(tmp_path)[0][0])


def test_only_the_longer_side_is_cut(tmp_path: Path) -> None:
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png")
    assert torch.equal(ImageFolder(tmp_path, size=4)[0][0], torch.ones(3, 4, 4))


def test_a_list_gives_the_order(root: Path, tmp_path: Path) -> None:
    listed = ["zebra/b.PNG", "ant/9.png", "zebra/sub/c.bmp"]
    names = tmp_path / "list.txt"
    names.write_text("\n".join(listed) + "\n\n")
    folder = ImageFolder(root, image_list=names)
    assert list(folder.paths) == listed
    assert folder.class_names == ("Bee", "ant", "zebra")
    assert folder.hard_labels.tolist() == [2, 1, 2]
    # What was walked can be written down and extended.
    names.write_text("\n".join(ImageFolder(root).paths))
    assert ImageFolder(root, image_list=names).paths == ImageFolder(root).paths


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ant/none.png", "is not there"),
        ("bee/x.tiff", "is not there"),
        ("ant", "no path class/image"),
        ("ant/deep", "is not there"),
        ("../images/ant/9.png", "no path class/image"),
        ("ant/../../secret.png", "no path class/image"),
        ("/etc/passwd", "no path class/image"),
        ("ant/10.png", "twice"),
        ("./ant//10.png", "twice"),
    ],
)
def test_a_line_that_names_no_image_is_refused(
    root: Path, tmp_path: Path, line: str, says: str
) -> None:
    draw(tmp_path / "secret.png")
    names = tmp_path / "list.txt"
    names.write_text(f"ant/10.png\n{line}\n")
    with pytest.raises(InvalidRequestError, match=says) as caught:
        ImageFolder(root, image_list=names)
    assert "line 2" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", ["", "\n \n", None, b"\xff\xfe"])
def test_a_list_without_images_is_refused(
    root: Path, tmp_path: Path, content: str | bytes | None
) -> None:
    names = tmp_path / "list.txt"
    if content is not None:
        names.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidRequestError, match=r"list\.txt"):
        ImageFolder(root, image_list=names)


def test_folders_without_classes_or_images_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidRequestError, match="no class directories"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(InvalidRequestError, match="cannot list"):
        ImageFolder(tmp_path / "nowhere")
    (root / "cow").mkdir()
    (root / "cow" / "moo.txt").write_text("no image")
    with pytest.raises(InvalidRequestError, match=r"cow holds no images"):
        ImageFolder(root)
    with pytest.raises(InvalidRequestError, match="1 or 3"):
        ImageFolder(root, channels=2)
    with pytest.raises(InvalidRequestError, match="one pixel"):
        ImageFolder(root, size=0)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", size=(64, 64))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(whole[:400])
    (tmp_path / "a" / "3.png").write_bytes(b"nothing")
    (tmp_path / "a" / "4.png").write_bytes(whole.replace(b"IDAT", b"IDAX"))
    (tmp_path / "a" / "5.png").write_bytes(b"")
    (tmp_path / "a" / "6.png").symlink_to("nowhere")
    with Image.open(tmp_path / "a" / "1.png") as image:
        image.save(tmp_path / "a" / "7.jpg")
    jpeg = (tmp_path / "a" / "7.jpg").read_bytes()
    (tmp_path / "a" / "7.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    folder = ImageFolder(tmp_path)
    assert len(folder) == 7
    for at in range(1, 7):
        with pytest.raises(DataError, match=folder.paths[at]) as caught:
            folder[at]
        assert "\n" not in caught.value.message


def test_without_pillow_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from labelcast.torch.images.image_folder import ImageFolder\n"
        "try:\n    ImageFolder('x')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("InvalidRequestError reading images needs Pillow")
    assert "labelcast[torch]" in done.stdout


@pytest.mark.parametrize("place", ["ant/deep", "zebra", "ant/deep/er"])
def test_a_directory_that_cannot_be_listed_is_not_left_out(
    root: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageFolder(root).paths
    with monkeypatch.context() as odd:
        unreadable(odd, root / place)
        with pytest.raises(
            InvalidRequestError, match=f"cannot list {root / place}: Permission denied"
        ):
            ImageFolder(root)
        # Its advice: a list of images, or a directory that can be read.
        images = root.parent / "images.txt"
        images.write_text("\n".join(whole))
        assert ImageFolder(root, image_list=images).paths == whole
    assert ImageFolder(root).paths == whole


def test_a_root_that_cannot_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="a directory of class directories that you may"):
        ImageFolder(root / "absent")
    with monkeypatch.context() as odd:
        unreadable(odd, root)
        with pytest.raises(InvalidRequestError, match="Permission denied; name a directory"):
            ImageFolder(root)
    assert len(ImageFolder(root)) == len(FILES)


@pytest.mark.parametrize("place", ["crab", "ant/mounted"])
def test_a_link_to_what_is_not_there_is_not_left_out(root: Path, place: str) -> None:
    whole = ImageFolder(root).paths
    elsewhere = root.parent / "elsewhere"
    (root / place).symlink_to(elsewhere)
    with pytest.raises(InvalidRequestError, match=f"{root / place} is a link .* mend or remove it"):
        ImageFolder(root)
    draw(elsewhere / "0.png")
    assert len(ImageFolder(root)) == len(whole) + 1
    (root / place).unlink()
    assert ImageFolder(root).paths == whole


def test_a_class_whose_name_is_not_utf8_is_named(root: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    try:
        (root / "ant").rename(odd)
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    with pytest.raises(InvalidRequestError, match="is not UTF-8; rename that class"):
        SampleTable(ImageFolder(root)).class_list()
    odd.rename(root / "café")
    SampleTable(ImageFolder(root)).class_list()
