"""Traces: functions of TensorFlow as graphs, which travel so that no task traces them again.

Tracing Python into a graph takes about a second, as long as training a small network for one round.
A graph whose variables are all known can be serialized and called by the next task.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def _without_rewriting():
    """Write the settings with which TensorFlow runs a graph as it was traced."""
    settings = tf.compat.v1.ConfigProto()
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings.SerializeToString(deterministic=True)


# Rewriting the graph of a small network takes as long as ten updates on a CPU, in every task, and
# did not make the updates of the networks that we tried any faster.
NO_REWRITING = _without_rewriting()


class Traces:
    """The traced functions of one algorithm, by name; their serialized form travels.

    A function is traced once, as by ``tf.function``, in the first task that calls it. Later
    tasks at the same organization, and a simulation, use the same graph.
    """

    def __init__(self) -> None:
        self._written = {}
        self._functions = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process."""
        return {"_written": self._written, "_functions": {}}

    def __contains__(self, name: str) -> bool:
        """Return whether a function of that name exists, or can be loaded."""
        return name in self._functions or self._written.get(name) is not None

    def get(
        self,
        name: str,
        function: Callable,
        batch: tuple,
        variables: Callable[[], list[keras.Variable]],
    ) -> "TracedFunction":
        """Return a function as a graph: the existing one, a loaded one, or a new one.

        Parameters
        ----------
        name : str
            What the function is for.
        function, batch
            As in :class:`TracedFunction`.
        variables : callable
            Lists all Keras variables that the function may read or write.

        Returns
        -------
        TracedFunction
            The same one in every call.
        """
        if name not in self._functions:
            traced = TracedFunction(function, batch, variables(), self._written.get(name))
            self._functions[name] = traced
            self._written[name] = traced.save()
        return self._functions[name]


class TracedFunction:
    """A training step, or a prediction, traced once for batches of any number of samples.

    On a CPU the graph is run as it was traced. On a GPU, where rewriting the graph matters, an
    ordinary ``tf.function`` is used, and nothing is saved.

    Parameters
    ----------
    function : callable
        Called with the elements of a batch; it returns a tensor, or a structure of tensors.
    batch : tuple
        Tensors or structures of them; the first batch.
    variables : list of keras.Variable
        All that the function may read or write.
    saved : dict, optional
        What :meth:`save` returned in another task. It is used if it fits this batch, these
        variables, this device and this TensorFlow; otherwise the function is traced again.

    Attributes
    ----------
    is_cached : bool
        Whether ``saved`` is used.
    """

    def __init__(
        self,
        function: Callable,
        batch: tuple,
        variables: list[keras.Variable],
        saved: dict[str, Any] | None = None,
    ) -> None:
        self._signature = signature_of(batch)
        self._handles = [variable.value.handle for variable in variables]
        device = self._handles[0].device
        self._is_on_cpu = "CPU" in device
        self._about = {
            "tensorflow": tf.__version__,
            "device": device,
            "batch": str(self._signature),
            "variables": str([(v.shape, v.dtype, v.trainable) for v in variables]),
        }
        self.is_cached = saved is not None and saved["about"] == self._about
        self._saved = saved if self.is_cached else None
        if self.is_cached:
            self._function = _import_graph(saved["graph"])
            self._types = [output.dtype for output in self._function.outputs]
            self._structure = None  # one tensor
            self._captured = [self._handles[place] for place in saved["captured"]]
        else:
            # Keras traces without autograph too; it would leave generated files in a forked task.
            traced = tf.function(function, input_signature=self._signature, autograph=False)
            self._function = traced.get_concrete_function()
            self._types = [output.dtype for output in self._function.outputs]
            self._structure = self._function.structured_outputs
            self._captured = self._function.captured_inputs

    def __call__(self, *batch: Any) -> Any:
        """Call the function with one batch and return what it returns.

        Raises
        ------
        ValueError
            If the shapes or dtypes are not those of the first batch.
        """
        given = tf.nest.flatten(batch)
        expected = tf.nest.flatten(self._signature)
        if len(given) != len(expected) or not all(map(_fits, given, expected)):
            raise ValueError(
                "Expected every batch of the dataset to have the shapes and dtypes of the first: "
                f"{_describe(expected)}. Received {_describe(given)}."
            )
        if not self._is_on_cpu:
            return self._function(*batch)
        results = tf.raw_ops.StatefulPartitionedCall(
            args=[*given, *self._captured],
            Tout=self._types,
            f=self._function,
            config_proto=NO_REWRITING,
        )
        return tf.nest.pack_sequence_as(self._structure, results)

    def save(self) -> dict[str, Any] | None:
        """Serialize the trace.

        Returns
        -------
        dict or None
            Bytes and plain values. None on a GPU, if the function returns more than one tensor,
            or if it uses something that does not exist in another task: a variable that is not in
            the list, or an inner function, such as the body of a loop.
        """
        if self._saved is None and self._is_on_cpu:
            traced = self._function
            places = {id(handle): place for place, handle in enumerate(self._handles)}
            captured = [places.get(id(tensor)) for tensor in self._captured]
            foreign = None in captured or traced.graph.as_graph_def().library.function
            if not foreign and not tf.nest.is_nested(self._structure):
                graph = _write_graph(traced.function_def, traced.graph.graph_def_versions)
                self._saved = {"about": self._about, "captured": captured, "graph": graph}
        return self._saved


def signature_of(batch: Any) -> Any:
    """Describe a batch of any number of samples.

    Parameters
    ----------
    batch : tensor or structure of tensors, shape (n, …)
        A batch.

    Returns
    -------
    tf.TensorSpec or structure of them
        With None in place of n.
    """
    return tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), batch)


def _fits(tensor, spec):
    """Return whether a tensor has the dtype and the shape that a graph was traced for."""
    return tensor.dtype == spec.dtype and spec.shape.is_compatible_with(tensor.shape)


def _describe(tensors):
    """List dtypes and shapes."""
    return ", ".join(f"{tensor.dtype.name} {tensor.shape}" for tensor in tensors)


def _write_graph(function, versions):
    """Write a graph with one node, which calls the function that travels in its library."""
    # TensorFlow numbers functions and gradients per process; two could have the same number.
    for node in function.node_def:
        node.attr.pop("_gradient_op_type", None)  # it is never differentiated
    function.signature.name = "traced"
    digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()
    function.signature.name = f"traced_{digest[:16]}"
    graph = tf.compat.v1.GraphDef(versions=versions)
    graph.library.function.append(function)
    call = tf.compat.v1.NodeDef(name="traced", op="StatefulPartitionedCall")
    call.attr["f"].func.name = function.signature.name
    call.attr["config_proto"].s = NO_REWRITING  # a nested call has its own setting
    call.attr["Tout"].list.type.extend(output.type for output in function.signature.output_arg)
    for place, tensor in enumerate(function.signature.input_arg):
        node = graph.node.add(name=f"input_{place}", op="Placeholder")
        node.attr["dtype"].type = tensor.type
        call.attr["Tin"].list.type.append(tensor.type)
        call.input.append(node.name)
    graph.node.append(call)
    return graph.SerializeToString(deterministic=True)


def _import_graph(graph):
    """Make a function of a graph: its inputs are a batch, then the variables' handles."""
    graph = tf.compat.v1.GraphDef.FromString(graph)
    inputs = [node for node in graph.node if node.op == "Placeholder"]

    def call(*tensors):
        places = {f"{node.name}:0": tensor for node, tensor in zip(inputs, tensors, strict=True)}
        return tf.graph_util.import_graph_def(graph, places, ["traced:0"], name="")

    # With a signature TensorFlow need not inspect the arguments of every call.
    signature = [tf.TensorSpec(None, node.attr["dtype"].type) for node in inputs]
    return tf.compat.v1.wrap_function(call, signature)
