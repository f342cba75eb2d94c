"""One machine, as far as it can be read: what the checks look at."""

from pathlib import Path

from eightgig.core.files import data_folder
from eightgig.core.records import Record
from eightgig.core.spilling import spills
from eightgig.doctor.disk import Disk, read_disk
from eightgig.doctor.graphics import Gpu, Graphics, read_graphics, visible_gpus
from eightgig.doctor.host import Host, read_host
from eightgig.doctor.software import Depth, Software, read_software


class Machine(Record):
    """All readings; what could not be read is None, never a guess."""

    graphics: Graphics
    host: Host
    software: Software
    disk: Disk

    @property
    def gpu(self) -> Gpu | None:
        """The card that runs use: the first that CUDA may show."""
        return next(iter(self.gpus), None)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The cards that CUDA shows, in its order."""
        return visible_gpus(self.graphics, self.software.visible_devices)

    @property
    def spills(self) -> bool:
        """Whether the driver moves tensors to main memory when the card is full: on Windows and in WSL."""
        model = self.gpu.driver_model if self.gpu else None
        return spills(self.host.system, is_wsl=self.host.is_wsl, driver_model=model)


def read_machine(depth: Depth = "full", folder: Path | None = None) -> Machine:
    """Return the readings of this machine; no CUDA context is made.

    Args:
        depth: `full` loads torch, which takes seconds; `quick` does not.
        folder: where data are; None takes the folder that runs would use.
    """
    return Machine(
        graphics=read_graphics(),
        host=read_host(),
        software=read_software(depth),
        disk=read_disk(folder or data_folder()),
    )
