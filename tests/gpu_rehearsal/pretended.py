"""A GPU that is only pretended, so that the engine's own work on one can be watched without one.

A tensor on the device is a wrapper that names it, around values on the CPU, or around none at all
(torch's ``meta`` device), where only shapes matter.  Two modes of torch see every call.  The one above
autograd translates the device's name.  The one below sees each operation that a device would be given,
and notes

* faults: operations that the device lacks, tensors of two devices in one operation, float64 on MPS;
* waits: what makes the host wait until the device has done everything before;
* launches: operations that are no views; at least as many kernels start on a real device;
* arithmetic and memory traffic by data type, and the memory that is alive.

It knows nothing of the time of kernels, of cuDNN's workspaces, or of a fragmented allocator.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import torch
import torch._dynamo  # torch loads it at some calls, which must not happen on the pretended device
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

import nstcore
from nstcore.core import stylize as stylize_module
from nstcore.core.losses.base import Losses
from nstcore.core.minimize import Minimizer
from nstcore.resources import device as nst_device

PACKAGE = str(Path(nstcore.__file__).parent) + "/"

HIDDEN = torch.device("meta")
"""What autograd takes the device for.  It would ask a real CUDA for its streams."""

KINDS = ("cuda", "mps")

NO_LAUNCH = {"detach", "alias", "lift_fresh", "empty", "empty_like", "new_empty", "empty_strided"}
WAITING = {"equal", "nonzero", "masked_select", "_unique2", "is_nonzero", "_local_scalar_dense"}
INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_"}


class DeviceTensor(Tensor):
    """A tensor of the pretended device; ``values`` has its values, or none on ``meta``."""

    values: Tensor
    shown: ClassVar[torch.device] = torch.device("cuda", 0)

    @staticmethod
    def __new__(cls, values: Tensor) -> DeviceTensor:
        """A wrapper of the same shape, strides and type."""
        made: DeviceTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=HIDDEN,
        )
        made.values = values
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The pretended device."""
        return self.shown

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Whether it pretends to be one of CUDA."""
        return self.shown.type == "cuda"

    def __repr__(self) -> str:  # type: ignore[override]
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, {self.shown})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Only a pretended device computes with it."""
        raise RuntimeError(f"{func} was called after the device had gone")


@dataclass
class Launch:
    """One operation of the device.

    Attributes:
        name: torch's name of it.
        part: of the iteration: ``encoder``, ``losses``, ``optimizer``, ``minimizer`` or ``other``.
        line: of nstcore, such as ``core/minimize.py:140``.
        flops: of convolutions and matrix products, each multiplication and addition counted.
        dtype: of their factors.
        bytes: that an operation without them reads and writes.
    """

    name: str
    part: str
    line: str
    flops: int = 0
    dtype: torch.dtype | None = None
    bytes: int = 0


@dataclass
class Iteration:
    """What the device was given between two marks; ``replayed`` if as one graph."""

    replayed: bool = False
    launches: list[Launch] = field(default_factory=list)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)  # what, line

    def by_part(self) -> Counter[str]:
        """How many launches each part has."""
        return Counter(launch.part for launch in self.launches)

    def flops(self, dtype: torch.dtype, kind: str) -> int:
        """Of all ``convolution`` or ``product`` launches with factors of a type."""
        return sum(
            launch.flops
            for launch in self.launches
            if launch.dtype == dtype and ("convolution" in launch.name) == (kind == "convolution")
        )


class _Names(TorchFunctionMode):
    """Above autograd: the device's name, and numbers for Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device or getattr(func, "__name__", "") == "__get__":
            return func(*args, **kwargs)
        on_device = bool(args) and isinstance(args[0], DeviceTensor)
        if func is Tensor.tolist and on_device:
            return args[0].cpu().tolist()
        if func in (Tensor.numpy, Tensor.__array__) and on_device:
            raise TypeError(f"a tensor of {DeviceTensor.shown} has no array")
        args, kwargs = tree_map(_hidden, (tuple(args), kwargs))
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == HIDDEN:
            # A tensor of ``meta`` would have no numbers that could be copied.
            return func(*args, **(kwargs | {"device": "cpu"})).to(HIDDEN)
        return func(*args, **kwargs)


def _hidden(value: Any) -> Any:
    named = value.type if isinstance(value, torch.device) else value
    return HIDDEN if isinstance(named, str) and named.split(":")[0] in KINDS else value


class PretendedDevice(TorchDispatchMode):
    """Watches what a device would be given.

    Args:
        kind: ``cuda`` or ``mps``.
        values: whether tensors have values.  Without, any size is free: numbers that the host asks for
            are 0, and flags are False.

    Attributes:
        faults: (what, line) -> how often.
        outside: what was launched outside of iterations.
        iterations: of the minimizers, in order.
        moved: names of what a minimizer keeps at another address after an ordinary iteration than before;
            only with values.
        alive, most: bytes of tensors on the device, now and at most.
    """

    def __init__(self, kind: str, values: bool = True) -> None:
        super().__init__()
        self.kind, self.with_values = kind, values
        self.faults: Counter[tuple[str, str]] = Counter()
        self.outside = Iteration()
        self.iterations: list[Iteration] = []
        self.moved: set[str] = set()
        self.alive = self.most = 0
        self._now = self.outside
        self._storages: set[int] = set()
        self._pinned: list[Tensor] = []
        self._origins: dict[int, tuple[str, str]] = {}

    @contextmanager
    def present(self) -> Iterator[PretendedDevice]:
        """The machine has this device."""
        properties = SimpleNamespace(name="pretended", uuid="GPU-0", total_memory=141 << 30)
        cuda = {
            "is_available": lambda: self.kind == "cuda",
            "device_count": lambda: int(self.kind == "cuda"),
            "_lazy_init": lambda: None,
            "set_device": lambda device: None,
            "get_device_properties": lambda device=None: properties,
            "get_device_name": lambda device=None: "pretended",
            "is_bf16_supported": lambda including_emulation=True: True,
            "mem_get_info": lambda device=None: (139 << 30, 141 << 30),
            "memory_reserved": lambda device=None: 0,
            "memory_allocated": lambda device=None: self.alive,
            "max_memory_allocated": lambda device=None: self.most,
            "reset_peak_memory_stats": lambda device=None: setattr(self, "most", self.alive),
            "empty_cache": lambda: None,
            "synchronize": lambda device=None: self._wait("synchronize"),
        }
        lifted = torch._C._only_lift_cpu_tensors()
        overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
        there = {"return_value": self.kind == "mps"}
        with ExitStack() as stack:
            for name, value in cuda.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, value))
            stack.enter_context(mock.patch.object(torch.backends.mps, "is_available", **there))
            stack.enter_context(mock.patch.object(torch.mps, "empty_cache", return_value=None))
            stack.enter_context(mock.patch.object(nst_device, "_own", None))
            stack.enter_context(
                mock.patch.object(DeviceTensor, "shown", torch.device(self.kind, 0))
            )
            stack.enter_context(mock.patch.object(Minimizer, "advance", self._watched()))
            stack.enter_context(mock.patch.object(Tensor, "pin_memory", self._pin))
            stack.enter_context(mock.patch.object(stylize_module, "capture_cuda", self._capture))
            try:
                # Copies of new tensors then pass through here, and modules take new parameters.
                torch._C._set_only_lift_cpu_tensors(True)
                torch.__future__.set_overwrite_module_params_on_conversion(True)
                with self, _Names():
                    yield self
            finally:
                torch._C._set_only_lift_cpu_tensors(lifted)
                torch.__future__.set_overwrite_module_params_on_conversion(overwritten)

    def _watched(self) -> Any:
        advance = Minimizer.advance

        def watched(minimizer: Minimizer) -> None:
            before = dict(_kept(minimizer))
            self._now = Iteration()
            self.iterations.append(self._now)
            try:
                advance(minimizer)
            finally:
                # Without values even counters are replaced, by others without.
                if self.with_values and not self._now.waits:
                    after = dict(_kept(minimizer))
                    self.moved |= {name for name, at in before.items() if after.get(name) != at}
                self._now = self.outside

        return watched

    @property
    def _capture(self) -> Any:
        """A graph that is only pretended: it does what was recorded, and may not wait."""

        def capture(function: Callable[[], Losses]) -> tuple[Callable[[], None], Any]:
            made: list[Losses] = []

            def replay() -> None:
                self._now.replayed = True
                made[:] = [function()]
                for (what, line), count in self._now.waits.items():
                    self.faults[f"{what} within a graph", line] += count

            return replay, SimpleNamespace(clone=lambda: made[0].clone())

        return capture

    @property
    def _pin(self) -> Any:
        def pin(tensor: Tensor) -> Tensor:
            self._pinned.append(tensor.clone(memory_format=torch.preserve_format))
            return self._pinned[-1]

        return pin

    # --- Notes. ---

    def _fault(self, what: str) -> None:
        self.faults[what, self._origin()[1]] += 1

    def _wait(self, what: str) -> None:
        self._now.waits[what, self._origin()[1]] += 1

    def _origin(self) -> tuple[str, str]:
        """Part and line; of a backward pass those of the forward operation."""
        node = torch._C._current_autograd_node()
        part, line = _innermost()
        if node is None:
            if torch.is_grad_enabled():
                self._origins[torch.autograd._get_sequence_nr() - 1] = part, line
            return part, line
        number = node._sequence_nr()
        # Operations within one of autograd have numbers shortly before its own.
        known = (self._origins.get(number - back) for back in range(12))
        return next((found for found in known if found), (part, line))

    # --- Operations. ---

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        here = [value for value in tensors if isinstance(value, DeviceTensor)]
        creates = kwargs.get("device") == HIDDEN
        if not here and not creates:
            return func(*args, **kwargs)
        if name in WAITING:
            self._wait(name)
        if (
            name in ("_to_copy", "copy_")
            and (crossed := self._cross(name, args, kwargs)) is not None
        ):
            return crossed
        if name == "_local_scalar_dense":
            [value] = here
            return func(value.values) if not value.values.is_meta else _nothing(value.dtype)
        if self.kind == "mps" and func is torch.ops.aten.bmm.dtype:
            raise NotImplementedError("MPS has no such product")
        self._check(func, name, args, tensors)
        if creates:
            kwargs["device"] = self._place(kwargs.get("dtype"), whole=name == "arange")
        unknown = any(value.values.is_meta for value in here)
        written = [kwargs.get(key, args[i] if i < len(args) else None) for i, key in _written(func)]
        for value in written if unknown else ():
            value.values = value.values.to("meta")
        plain = tree_map(lambda value: _plain(value, unknown), (args, kwargs))
        result = _compute(func, name, *plain)
        self._note(func, name, *plain, result)
        if written:
            return result if result is None else written[0] if len(written) == 1 else tuple(written)
        return tree_map(
            lambda value: self._own(value) if isinstance(value, Tensor) else value, result
        )

    def _place(self, dtype: torch.dtype | None, *, whole: bool = False) -> torch.device:
        """Where the values of a new tensor are: indices and flags always have some."""
        whole = whole or (dtype is not None and not dtype.is_floating_point)
        return torch.device("cpu" if self.with_values or whole else "meta")

    def _own(self, values: Tensor) -> DeviceTensor:
        """A new tensor of the device, whose memory counts while it lives."""
        if self.kind == "mps" and values.dtype == torch.float64:
            self._fault("float64 on MPS")
        storage = values.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address not in self._storages:
            self._storages.add(address)
            self.alive += size
            self.most = max(self.most, self.alive)
            weakref.finalize(storage, self._freed, address, size)
        return DeviceTensor(values)

    def _freed(self, address: int, size: int) -> None:
        self._storages.discard(address)
        self.alive -= size

    def _cross(self, name: str, args: Any, kwargs: Any) -> Any:
        """A copy between host and device; None for another."""
        if name == "copy_":
            into, source = args[:2]
            if isinstance(into, DeviceTensor) == isinstance(source, DeviceTensor):
                return None
            self._wait(
                "copy to the device" if isinstance(into, DeviceTensor) else "copy to the host"
            )
            if isinstance(into, DeviceTensor):
                into.values.copy_(source)
            else:
                into.copy_(torch.zeros_like(into) if source.values.is_meta else source.values)
            return into
        source, to_device = args[0], kwargs.get("device") == HIDDEN
        if isinstance(source, DeviceTensor):
            if to_device or "device" not in kwargs:
                return None
            self._wait("copy to the host")
            values = source.values
            values = torch.zeros_like(values, device="cpu") if values.is_meta else values
            return torch.ops.aten._to_copy(values, dtype=kwargs.get("dtype"))
        pinned = any(source is tensor for tensor in self._pinned)
        if not (pinned and kwargs.get("non_blocking")):
            self._wait("copy to the device")
        options = kwargs | {"device": self._place(source.dtype)}
        return self._own(torch.ops.aten._to_copy(source, **options))

    def _check(self, func: Any, name: str, args: Any, tensors: list[Tensor]) -> None:
        if name in INDEXING:
            indices = [value for value in args[1] if value is not None]
            filled = name != "index" and args[2].numel() == 1
            if any(value.dtype == torch.bool for value in indices) and not filled:
                self._wait(f"{name} by flags")
            tensors = [args[0], *([] if name == "index" else [args[2]])]
        if any(not isinstance(value, DeviceTensor) and value.dim() for value in tensors):
            self._fault(f"tensors of two devices in {name}")
        if not (_on_cuda(func) if self.kind == "cuda" else func.name() in _mps_operations()):
            self._fault(f"no kernel for {self.kind}: {name}")

    def _note(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        part, line = self._origin()
        if func.is_view or name in NO_LAUNCH or name == "_unsafe_view":
            return
        launch = Launch(name, part, line)
        self._now.launches.append(launch)
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        outputs = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            launch.flops = count(*args, **kwargs, out_val=result)
            launch.dtype = inputs[1 if name == "baddbmm" else 0].dtype
            if name == "convolution" and args[2] is not None:
                # cuDNN's kernel has no bias: another one adds it.
                size = 2 * outputs[0].numel() * outputs[0].element_size()
                self._now.launches.append(Launch("bias", part, line, bytes=size))
            return
        moved = 2 * outputs if name in ("index", "gather", "index_select") else inputs + outputs
        launch.bytes = sum(value.numel() * value.element_size() for value in moved)


def _kept(owner: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Where the tensors are that a minimizer and its optimizer keep between iterations."""
    for name, value in vars(owner).items():
        if isinstance(value, DeviceTensor):
            yield prefix + name, value.values.untyped_storage()._cdata
        elif name in ("optimizer", "fallback") and value is not None:
            yield from _kept(value, f"{name}.")


def _plain(value: Any, unknown: bool) -> Any:
    """A tensor's values, or none of any where one has none."""
    if isinstance(value, DeviceTensor):
        value = value.values
    return value.to("meta") if unknown and isinstance(value, Tensor) and value.dim() else value


def _compute(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    if func is torch.ops.aten.bmm.dtype:  # CUDA alone has it
        return torch.bmm(args[0].to(args[2]), args[1].to(args[2]))
    if name == "nonzero" and args[0].is_meta:
        return torch.zeros(0, args[0].dim(), dtype=torch.long)
    result = func(*args, **kwargs)
    if "convolution" in name and args[0].is_meta:
        # cuDNN keeps the layout of what it is given; torch's functions of shapes do not say so.
        last = any(_is_channels_last(value) for value in args[:3] if isinstance(value, Tensor))
        layout = torch.channels_last if last else torch.contiguous_format
        return tree_map(
            lambda value: (
                torch.empty_like(value, memory_format=layout)
                if isinstance(value, Tensor) and value.dim() == 4
                else value
            ),
            result,
        )
    return result


def _is_channels_last(value: Tensor) -> bool:
    if value.dim() != 4 or value.is_contiguous():
        return False
    return value.is_contiguous(memory_format=torch.channels_last)


def _nothing(dtype: torch.dtype) -> bool | int | float:
    return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0


@cache
def _written(func: Any) -> tuple[tuple[int, str], ...]:
    """Places and names of the arguments that an operation writes to."""
    return tuple(
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


@cache
def _on_cuda(func: Any) -> bool:
    """Whether torch has a kernel for CUDA, or makes the operation of others."""
    keys = ("CUDA", "CompositeExplicitAutograd", "CompositeImplicitAutograd")
    more = "CompositeExplicitAutogradNonFunctional"
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has(func.name(), key) for key in (*keys, more))


@cache
def _mps_operations() -> frozenset[str]:
    """Names of the operations that MPS has, from the list that comes with every build of torch."""
    import torchgen
    from torchgen.gen import parse_native_yaml
    from torchgen.model import DispatchKey

    folder = Path(torchgen.__file__).parent / "packaged/ATen/native"
    parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    kernels = parsed.backend_indices[DispatchKey.MPS]

    def there(function: Any) -> bool:
        delegate = function.structured_delegate
        if kernels.has_kernel(function) or function.has_composite_kernel:
            return True
        return delegate is not None and kernels.index.get(delegate) is not None

    names = (f.func.name for f in parsed.native_functions if there(f))
    return frozenset(f"aten::{name}".removesuffix(".") for name in names)


PARTS = {
    "core/encoders/": "encoder",
    "core/losses/": "losses",
    "core/moments": "losses",
    "core/objective": "losses",
    "core/optimizers/": "optimizer",
    "core/minimize": "minimizer",
}


def _innermost() -> tuple[str, str]:
    """Part and line of the innermost frame in nstcore."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE):
            short = file[len(PACKAGE) :]
            part = next((part for start, part in PARTS.items() if short.startswith(start)), "other")
            return part, f"{short}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "other", "elsewhere"
