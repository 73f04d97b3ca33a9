"""Images from files."""

from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS


def read_rgb(path: str | Path) -> Image.Image:
    """Read an image file, whatever its format and mode, as RGB.

    Raises:
        OSError: if the file is not there, no image, or damaged; the message names it.
    """
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except Exception as error:  # of damaged files Pillow also raises SyntaxError, ValueError, DecompressionBombError
        raise OSError(f"{path} cannot be read as an image: {error}; replace or remove it") from error


def find_images(folder: Path) -> list[Path]:
    """Return the image files anywhere below a folder, sorted.

    Raises:
        FileNotFoundError: if there are none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    if not paths:
        raise FileNotFoundError(f"there are no images ({', '.join(IMG_EXTENSIONS)}) in {folder}")
    return paths
