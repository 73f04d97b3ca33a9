"""Package of the GPU benchmark, with a description of its file of results: ``python -m benchmarks.gpu``.

Each part (see :mod:`benchmarks.gpu.parts`) runs in its own process under a time limit. Its result is written when it
ends, so a run that was interrupted continues with the parts that are not done. Without a CUDA device all parts run on
the CPU at small sizes and with longer limits, which shows that they work and measures nothing; there ``--out`` is
required. ``--smoke`` runs
two training steps of every config instead, without a time limit for all of them together.

The output, ``benchmarks/results/gpu.json``, is one object:

- ``environment``: ``device`` (``"cuda"`` or ``"cpu"``), ``name`` of the card, ``cards``, ``torch``, ``python``,
  ``threads``.
- ``parts``: by name, each with

  - ``status``: ``"done"``; ``"time limit"``, with the rows that were measured before it; ``"failed"``, with the last
    lines of the error in ``message``; ``"skipped"``, with the reason in ``message``;
  - ``seconds``, ``limit``: what the part took, and its time limit;
  - ``rows``: a list of objects. Values of unequal rows may be missing.

Rows by part (times are medians; ``ratio`` is relative to the plain or the first alternative of the same round, and is
followed by its quartiles ``low`` and ``high``):

- ``layer_eager``, ``layer_graph``, ``layer_compiled``: ``mode``, ``task`` (``"train"``: forward and backward;
  ``"infer"``), ``bound`` (``"launches"`` for small shapes, ``"card"`` for large ones), ``shape`` (batch, channels,
  height, width, output channels, kernel, stride), ``dtype``, ``layout``, ``layer`` (``"plain"``, ``"plain again"``, the
  noise, ``"coordconv"``, ``"kept grid"``: convolution of a kept coordinate grid and an addition, ``"concat"``,
  ``"folded"``), ``milliseconds``, ``ratio``, ``low``, ``high``, ``rounds``.
- ``training``: ``recipe``, ``plain_ms`` and ``task_ms`` a step, ``ratio`` (task / plain), ``low``, ``high``,
  ``batch_size``. ``gan`` likewise, an iteration being one discriminator and two generator steps.
- ``coordinates``: ``experiment``, ``goal`` (``"accuracy"`` or ``"speed"``), ``steps``, ``seconds``, ``ms_a_step``,
  ``test`` and ``train`` (the final metrics by name, for the goal ``"accuracy"``).
- ``agents``: ``arm``, ``games``, ``steps_a_second`` (environment steps), ``ratio`` (to Stable-Baselines3 with 16
  games).
- ``ranks``: ``backend`` (``"nccl"`` or ``"gloo"``), ``ranks``, ``steps``, ``seconds``, ``samples_a_second``.
- ``smoke``: ``experiment``, ``status`` (``"ok"``, ``"refused"``: the command line refused it, as it does where data are
  missing, ``"failed"``), ``seconds``, ``message``.
"""
