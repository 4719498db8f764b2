"""GDCM in a process of its own: a damaged film may crash it, and must not take the reader along.

:mod:`helpers.data.dicom` starts this file as a script for one film and reads its stored values from
the standard output. It imports nothing else, so that it starts in a tenth of a second.
"""

import resource
import sys

MEMORY = 2**32  # bytes of addresses


def main(path: str) -> int:
    """Write the stored values of a DICOM file to the standard output; return the exit status."""
    import gdcm

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        return 1
    # GDCM returns bytes as a text, which is how Python's binding of it works.
    values = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    sys.stdout.buffer.write(values)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
