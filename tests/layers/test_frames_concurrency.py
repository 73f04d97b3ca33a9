"""Tests of coordinate frames in threads, asyncio tasks, generators, decorators, vmap, and activation checkpointing."""

import asyncio
import contextlib
import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lightning_coordconv.layers import (
    AddCoords,
    CoordConv2d,
    coordinate_field,
    coordinate_frame,
)
from lightning_coordconv.layers._torch import TRACES_CONTEXT_VARIABLES
from lightning_coordconv.layers.frames import active_frame
from tests.layers.test_frames import hourglass


def test_frames_nest_and_end():
    coords, x = AddCoords(1), torch.zeros(1, 1, 4)
    plain = coords(x)
    with coordinate_frame((4,), (8,), crop=(4,)):
        outer = coords(x)
        with coordinate_frame((0,), (8,), crop=(4,)):
            assert not torch.equal(coords(x), outer)
        assert torch.equal(coords(x), outer)
        with pytest.raises(RuntimeError, match="inside"), coordinate_frame((1,), (8,), crop=(4,)):
            raise RuntimeError("inside")
        assert torch.equal(coords(x), outer)
    assert torch.equal(coords(x), plain)
    assert active_frame() is None


def test_frames_belong_to_their_thread():
    seen = []
    with coordinate_frame((4,), (8,), crop=(4,)):
        thread = threading.Thread(target=lambda: seen.append(active_frame()))
        thread.start()
        thread.join()
    assert seen == [None]


class TestConcurrency:
    """Blocks belong to the task and thread that enters them; what cannot be right is refused."""

    LAYER = AddCoords(1)

    @classmethod
    def first(cls):
        return cls.LAYER(torch.zeros(1, 1, 4))[0, 1, 0].item()

    @pytest.mark.parametrize("delays", [(0.02, 0.04), (0.04, 0.02), (0.0, 0.0)])
    def test_asyncio_tasks(self, delays):
        seen = {}

        async def tile(origin, delay):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                await asyncio.sleep(delay)
                seen[origin] = self.first()
                await asyncio.sleep(delay)

        async def outside():
            await asyncio.sleep(0.01)
            seen["outside"] = self.first()

        async def main():
            await asyncio.gather(tile(0, delays[0]), tile(4, delays[1]), outside())

        asyncio.run(main())
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7), "outside": -1.0}
        assert self.first() == -1.0
        assert active_frame() is None

    def test_work_that_a_task_gives_to_a_thread_keeps_its_block(self):
        async def main():
            with coordinate_frame((4,), (8,), crop=(4,)):
                return await asyncio.to_thread(self.first)

        assert asyncio.run(main()) == pytest.approx(1 / 7)

    def test_threads_in_turn(self):
        seen = {}
        barrier = threading.Barrier(2)

        def run(origin):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                barrier.wait()
                seen[origin] = self.first()
                barrier.wait()

        threads = [threading.Thread(target=run, args=(origin,)) for origin in (0, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7)}

    def test_a_generator_serves_its_consumer(self):
        def tiles():
            for origin in (0, 4):
                with coordinate_frame((origin,), (8,), crop=(4,)):
                    yield origin

        assert {origin: self.first() for origin in tiles()} == {0: -1.0, 4: pytest.approx(1 / 7)}
        assert active_frame() is None

    def test_generators_that_interleave_are_refused(self):
        def tiles(origin):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                yield origin

        one, other = tiles(0), tiles(4)
        next(one)
        next(other)
        with pytest.raises(RuntimeError, match="while another one was active: blocks must be left in reverse"):
            next(one)
        with pytest.raises(RuntimeError, match="left while another one was active"):
            next(other)
        assert active_frame() is None
        assert self.first() == -1.0

    def test_a_block_left_in_another_task_is_refused(self):
        block = coordinate_frame((4,), (8,), crop=(4,))

        async def enter():
            block.__enter__()

        async def leave():
            block.__exit__(None, None, None)

        async def main():
            await asyncio.create_task(enter())
            await asyncio.create_task(leave())

        with pytest.raises(RuntimeError, match="in the task and thread that entered"):
            asyncio.run(main())
        assert active_frame() is None

    def test_a_decorator_serves_functions_and_refuses_what_runs_later(self):
        frame = coordinate_frame((4,), (8,), crop=(4,))
        assert [frame(self.first)(), frame(self.first)()] == [pytest.approx(1 / 7)] * 2

        async def coroutine():
            return self.first()

        def generator():
            yield self.first()

        async def both():
            yield self.first()

        for function in (coroutine, generator, both):
            for block in (frame, coordinate_field(torch.zeros(1, 4))):
                with pytest.raises(TypeError, match=f"cannot decorate .*{function.__name__}, a coroutine or generator"):
                    block(function)

    def test_a_block_that_is_active_is_not_entered_again(self):
        frame = coordinate_frame((4,), (8,), crop=(4,))
        with frame, pytest.raises(RuntimeError, match="is active already: make another one"), frame:
            pass
        with frame:
            assert self.first() == pytest.approx(1 / 7)
        assert active_frame() is None

    def test_positions_are_those_of_the_call(self):
        origin = torch.tensor([4.0])
        with coordinate_frame(origin, (8,), crop=(4,)):
            origin.zero_()
            assert self.first() == pytest.approx(1 / 7)

    @pytest.mark.slow
    def test_compiled_code_in_two_tasks(self):
        """Torch 2.11 cannot read a context variable in compiled code; there tasks have to take turns."""
        if not TRACES_CONTEXT_VARIABLES:
            pytest.skip("compiled code sees the block of the thread with this version of torch")
        torch._dynamo.reset()
        compiled = torch.compile(self.LAYER, fullgraph=True, backend="eager")
        seen = {}

        async def tile(origin, delay):
            with coordinate_frame((origin,), (8,), crop=(4,)):
                await asyncio.sleep(delay)
                seen[origin] = compiled(torch.zeros(1, 1, 4))[0, 1, 0].item()

        async def main():
            await asyncio.gather(tile(0, 0.02), tile(4, 0.04))
            seen["outside"] = compiled(torch.zeros(1, 1, 4))[0, 1, 0].item()

        asyncio.run(main())
        torch._dynamo.reset()
        assert seen == {0: -1.0, 4: pytest.approx(1 / 7), "outside": -1.0}


def test_activation_checkpointing():
    """The way that the documentation shows: the block again, for the second run."""
    net, x = hourglass(), torch.randn(2, 3, 16, 16)

    def frame():
        return coordinate_frame((16, 0), (64, 64), crop=(16, 16))

    with frame():
        net(x).square().sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    with frame():
        out = checkpoint(net, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), frame()))
    out.square().sum().backward()
    for p, grad in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_a_frame_of_each_sample_within_vmap():
    layer, x = CoordConv2d(2, 3, 3, padding=1), torch.randn(4, 2, 8, 8)
    origins = torch.tensor([[0, 0], [8, 8], [3, 5], [1, 2]])

    def run(sample, origin):
        with coordinate_frame(origin, (16, 16), crop=(8, 8)):
            return layer(sample)

    with coordinate_frame(origins, (16, 16), crop=(8, 8)):
        expected = layer(x)
    torch.testing.assert_close(torch.func.vmap(run)(x, origins), expected)


def test_copies_for_the_threads_of_data_parallel_are_refused_in_a_frame():
    layer = CoordConv2d(1, 1, 1)
    assert isinstance(layer._replicate_for_data_parallel(), CoordConv2d)
    with coordinate_frame((0, 0), (8, 8), crop=(8, 8)), pytest.raises(RuntimeError, match="DataParallel runs the mod"):
        layer._replicate_for_data_parallel()
