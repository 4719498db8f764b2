"""Traces: a training step as TensorFlow's graph, which travels so that no task traces it again.

Turning Python into a graph takes about a second, as long as the training of a small network for
one round. A graph whose variables are all known can be written down and called by the next task.
"""

import hashlib

import tensorflow as tf


def _without_rewriting():
    """Write the settings with which TensorFlow runs a graph as it was traced."""
    settings = tf.compat.v1.ConfigProto()
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings.SerializeToString(deterministic=True)


# Rewriting the graph of a small network takes a CPU as long as ten updates, in every task anew,
# and no update of the networks that we tried was faster for it.
NO_REWRITING = _without_rewriting()


class TracedStep:
    """A training step, traced once for all batches: the last of an epoch may be smaller.

    Parameters
    ----------
    step : callable
        Called with the elements of a batch; it returns one tensor.
    batch : tuple
        Tensors or structures of them; the first batch.
    variables : list of keras.Variable
        All that the step may read or write.
    saved : dict, optional
        What :meth:`save` returned in another task. It is used if it fits this batch, these
        variables, this device and this TensorFlow; otherwise the step is traced again.
    loaded : dict, optional
        Where graphs that were loaded in this process are kept, for others that are given the same
        dictionary: to load one, and to run it for the first time, takes a third of a second.

    Attributes
    ----------
    is_recalled : bool
        Whether ``saved`` is used.
    """

    def __init__(self, step, batch, variables, saved=None, loaded=None):
        self._signature = signature = signature_of(batch)
        self._handles = [variable.value.handle for variable in variables]
        device = self._handles[0].device
        self._about = {
            "tensorflow": tf.__version__,
            "device": device,
            "batch": str(signature),
            "variables": str([(v.shape, v.dtype, v.trainable) for v in variables]),
        }
        self.is_recalled = saved is not None and saved["about"] == self._about
        self._saved = saved if self.is_recalled else None
        if self.is_recalled:
            loaded = {} if loaded is None else loaded
            if saved["graph"] not in loaded:
                loaded[saved["graph"]] = _import_graph(saved["graph"])
            self._function = loaded[saved["graph"]]
            self._captured = [self._handles[place] for place in saved["captured"]]
        else:
            # Keras traces without autograph too, whose generated files a forked task would leave.
            traced = tf.function(step, input_signature=signature, autograph=False)
            self._function = traced.get_concrete_function()
            self._captured = self._function.captured_inputs
        self._is_on_cpu = "CPU" in device

    def __call__(self, *batch):
        """Make the step on one batch and return its tensor.

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
        inputs = [*given, *self._captured]
        if not self._is_on_cpu:
            return self._function(*(inputs if self.is_recalled else batch))
        [result] = tf.raw_ops.StatefulPartitionedCall(
            args=inputs,
            Tout=[output.dtype for output in self._function.outputs],
            f=self._function,
            config_proto=NO_REWRITING,
        )
        return result

    def save(self):
        """Write the trace down.

        Returns
        -------
        dict or None
            Bytes and plain values. None if the step uses something that would not be there in
            another task: a variable that is not in the list, or a function of its own, such as
            the body of a loop.
        """
        if self._saved is None:
            traced = self._function
            places = {id(handle): place for place, handle in enumerate(self._handles)}
            captured = [places.get(id(tensor)) for tensor in self._captured]
            if None not in captured and not traced.graph.as_graph_def().library.function:
                graph = _wrap(traced.function_def, traced.graph.graph_def_versions)
                self._saved = {"about": self._about, "captured": captured, "graph": graph}
        return self._saved


def signature_of(batch):
    """Describe a batch of any number of films.

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
    """Tell whether a tensor has the dtype and the shape that a graph was traced for."""
    return tensor.dtype == spec.dtype and spec.shape.is_compatible_with(tensor.shape)


def _describe(tensors):
    """List dtypes and shapes."""
    return ", ".join(f"{tensor.dtype.name} {tensor.shape}" for tensor in tensors)


def _import_graph(graph):
    """Make a function from a graph: its inputs are a batch, then the variables' handles."""
    graph = tf.compat.v1.GraphDef.FromString(graph)
    inputs = [node for node in graph.node if node.op == "Placeholder"]

    def call(*tensors):
        places = {f"{node.name}:0": tensor for node, tensor in zip(inputs, tensors, strict=True)}
        return tf.graph_util.import_graph_def(graph, places, ["step:0"], name="")[0]

    # With a signature TensorFlow need not find out, for every single call, what it is given.
    signature = [tf.TensorSpec(None, node.attr["dtype"].type) for node in inputs]
    return tf.compat.v1.wrap_function(call, signature)


def _wrap(function, versions):
    """Write a graph with one node, which calls the function that travels in its library."""
    # TensorFlow numbers functions and gradients in each process; another could have this number.
    for node in function.node_def:
        node.attr.pop("_gradient_op_type", None)  # nobody differentiates a step
    function.signature.name = "step"
    digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()
    function.signature.name = f"step_{digest[:16]}"
    graph = tf.compat.v1.GraphDef(versions=versions)
    graph.library.function.append(function)
    call = tf.compat.v1.NodeDef(name="step", op="StatefulPartitionedCall")
    call.attr["f"].func.name = function.signature.name
    call.attr["Tout"].list.type.extend(output.type for output in function.signature.output_arg)
    for place, tensor in enumerate(function.signature.input_arg):
        node = graph.node.add(name=f"input_{place}", op="Placeholder")
        node.attr["dtype"].type = tensor.type
        call.attr["Tin"].list.type.append(tensor.type)
        call.input.append(node.name)
    graph.node.append(call)
    return graph.SerializeToString(deterministic=True)
