"""A BERT's token table and feed-forward matrices, each as the product of two thin ones: the nearest of its rank (Eckart & Young 1936)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.compact import require_bert
from potstill.models.encoder import EncoderModel
from potstill.student.reshape import reshaped


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two thin matrices whose product has the least squared distance from a matrix among those of that rank.

    The singular value decomposition's greatest `rank` directions: on the shorter axis they are
    orthonormal, on the longer one they carry the lengths. Computed in fp64 from the eigenvectors of the
    smaller of MᵀM and MMᵀ, which a table of 30,000 rows takes in a fraction of a second; a direction
    points where its largest component is positive, so that the same matrix gives the same numbers.
    Source: Eckart & Young 1936.

    Args:
        matrix: (m, n).
        rank: of the product.

    Returns:
        (m, rank) and (rank, n), of the matrix's type.

    Raises:
        PotstillError: `rank` is above the shorter axis.
    """
    if rank > min(matrix.shape):
        problem = f"rank {rank} is asked of a matrix of {matrix.shape[0]} × {matrix.shape[1]}"
        raise PotstillError("student", problem, f"ask for {min(matrix.shape)} at most")
    if matrix.shape[0] < matrix.shape[1]:
        left, right = low_rank(matrix.T, rank)
        return right.T.contiguous(), left.T.contiguous()
    exact = matrix.detach().double()
    _, directions = torch.linalg.eigh(exact.T @ exact)  # (n, n), the shortest first
    directions = directions.flip(1)[:, :rank]
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return (exact @ directions).to(matrix.dtype), directions.T.to(matrix.dtype).contiguous()


def factor(model: EncoderModel, *, embedding: int | None = None, ffn: int | None = None) -> None:
    """Give a BERT a token table (V, d) ≈ (V, r)·(r, d), and feed-forward matrices (d, f) ≈ (d, r)·(r, f), in place.

    A language model's output matrix is the narrow table too; what the table was multiplied by stands
    before it and is trained by itself.

    Args:
        model: it is changed in place.
        embedding: the table's rank r; None leaves it whole.
        ffn: the rank r of the feed-forward matrices; None leaves them whole.

    Raises:
        PotstillError: a language model whose output matrix is not its token table. One from below comes through: another
            network than BERT; a part that is factored already; a rank above what the matrices have.
    """
    network: Any = model.network
    config, prefix = network.config, "" if network is network.base_model else f"{network.base_model_prefix}."
    sizes = {"embedding_size": embedding, "ffn_rank": ffn}
    for size, rank in sizes.items():
        if rank is not None:
            require_whole(config.to_dict(), size, "student")
    own, weights = network.state_dict(), dict[str, Tensor]()
    if embedding is not None:
        head = network.get_output_embeddings()
        if head is not None and head.weight is not network.get_input_embeddings().weight:
            problem = "the language model's output matrix is not its token table"
            raise PotstillError("student.embedding_rank", problem, "drop it, or tie them (tie_word_embeddings) first")
        table, projection = low_rank(own[f"{prefix}embeddings.word_embeddings.weight"], embedding)
        weights[f"{prefix}embeddings.word_embeddings.weight"] = table
        weights[f"{prefix}embeddings.word_projection.weight"] = projection.T
        weights["cls.predictions.decoder.weight"] = table
        weights["cls.predictions.transform.narrow.weight"] = projection
    if ffn is not None:
        for number in range(len(model.layers)):
            for part in ("intermediate", "output"):
                name = f"{prefix}encoder.layer.{number}.{part}.dense"
                up, down = low_rank(own[f"{name}.weight"], ffn)
                weights |= {f"{name}.up.weight": up, f"{name}.down.weight": down, f"{name}.up.bias": own[f"{name}.bias"]}
    model.network = reshaped(network, weights, **{size: rank for size, rank in sizes.items() if rank is not None})


def require_whole(config: dict[str, Any], size: str, place: str) -> None:
    """Check that matrices can be factored. A PotstillError from `require_bert` comes through: another network than BERT.

    Args:
        config: of the network.
        size: the field of CompactConfig that tells their rank.
        place: what an error names.

    Raises:
        PotstillError: they are factored already.
    """
    require_bert(str(config.get("model_type")), place)
    if config.get(size):
        raise PotstillError(place, f"the source's rank is {config[size]} already", "drop it, or start from a whole BERT")
