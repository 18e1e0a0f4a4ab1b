from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.db.exchange.sample import again, told, winner, winners_of
from tuner.db.exchange import Request, Selection
from tuner.db.exchange.tunableop import TunableOpFiles
from tuner.errors import ExchangeError
from tuner.types import Config, Device, Workload

FORMAT = TunableOpFiles()
DEVICE = Device("hip", "AMD Instinct MI300X", "gfx942", 1, 0)
ASKED = Request(device=DEVICE)
TEXT = """Validator,PT_VERSION,2.13.0
Validator,GCN_ARCH_NAME,gfx942:sramecc+:xnack-
Validator,ROCBLAS_VERSION,4.0.0-72e57364-dirty
GemmTunableOp_float_NT,nt_25088_4096_64,Gemm_Hipblaslt_1219,1.262

GemmTunableOp_Half_TN,tn_512_8_64,Gemm_Rocblas_1216,0.033,BLAS_PARAMS: {M: 512,N: 8}
GemmTunableOp_Half_TN,tn_8_8_8,Default
GemmTunableOp_Half_TN,tn_8_8_8,Gemm_Rocblas_1,0.001
"""


def put(folder: Path, text: str) -> Path:
    path = folder / "tunableop_results0.csv"
    path.write_text(text)
    return path


def test_a_file_tells_products_and_versions(tmp_path: Path) -> None:
    reading = FORMAT.read(put(tmp_path, TEXT), Request())
    assert told(reading.findings) == [
        (
            "tunableop:GemmTunableOp_float_NT",
            Workload(params="nt_25088_4096_64"),
            "gfx942",
            Config(solution="Gemm_Hipblaslt_1219"),
        ),
        (
            "tunableop:GemmTunableOp_Half_TN",
            Workload(params="tn_512_8_64"),
            "gfx942",
            Config(solution="Gemm_Rocblas_1216"),
        ),
        # Of two lines, PyTorch takes the first.
        ("tunableop:GemmTunableOp_Half_TN", Workload(params="tn_8_8_8"), "gfx942", Config(solution="Default")),
    ]
    assert [one.seconds for one in reading.findings] == [pytest.approx(1.262e-3), pytest.approx(3.3e-5), None]
    origin = reading.findings[0].origin
    assert origin.versions["ROCBLAS_VERSION"] == "4.0.0-72e57364-dirty"
    assert reading.findings[0].device.kind == "hip"
    assert reading.notes == ("1 later lines for the same products left out, as PyTorch does",)
    assert FORMAT.read(put(tmp_path, TEXT), ASKED).findings[0].device == DEVICE


fields = st.from_regex(r"[A-Za-z0-9_:+.-]{1,20}", fullmatch=True).filter(lambda text: text != "Validator")
products = st.dictionaries(
    st.tuples(fields, fields), st.tuples(fields, st.none() | st.floats(1e-4, 1e4)), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(lines=products, validators=st.dictionaries(fields, fields, max_size=3))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lines: dict[Any, Any], validators: dict[str, str]
) -> None:
    text = "".join(f"Validator,{name},{value}\n" for name, value in {**validators, "PT_VERSION": "2.13.0"}.items())
    for (operator, parameters), (solution, time) in lines.items():
        text += f"{operator},{parameters},{solution}{f',{time:.6g}' if time is not None else ''}\n"
    folder = tmp_path_factory.mktemp("tunableop")
    findings = FORMAT.read(put(folder, text), ASKED).findings
    assert len(findings) == len(lines)
    read = again(FORMAT, findings, folder / "again.csv", ASKED)
    assert told(read) == told(findings)
    assert [one.seconds for one in read] == [pytest.approx(one.seconds) for one in findings]
    assert (folder / "again.csv").read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "validator 'PT_VERSION' is missing"),
        ("Validator,PT_VERSION,2.13.0\n", "has no results"),
        (TEXT + "Gemm\n", "line 9 has too few fields: 'Gemm'"),
        (TEXT + "a,,b\n", "line 9 has too few fields"),
        (TEXT + "a,b,c,fast\n", "line 9 has the time 'fast'"),
        (TEXT + "a,b,c,-1\n", "time in line 9 is -1.0"),
        (TEXT + "a,b,c,inf\n", "time in line 9 is inf"),
        ("Validator,PT_VERSION,2.13.0\na,b,c,1\n", "--target"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = put(tmp_path, text)
    with pytest.raises(ExchangeError, match=message) as raised:
        FORMAT.read(path, Request())
    assert str(path) in str(raised.value)


def test_what_pytorch_would_not_take_is_not_written(tmp_path: Path) -> None:
    findings = FORMAT.read(put(tmp_path, TEXT), ASKED).findings
    out = tmp_path / "out.csv"
    good, other, _ = winners_of(findings)
    environment = {"PT_VERSION": "2.12.0"}
    old = winner("tunableop:A", Workload(params="b"), Config(solution="c"), environment=environment, number=9)
    comma = winner("tunableop:A", Workload(params="b,c"), Config(solution="c"), environment={"PT_VERSION": "2"})
    for selected, message in (
        ([good, old], "winners 1 and 9 were found under different validators"),
        ([good, good], "which another one is for"),
        ([winner("cpp:softmax", Workload(M=1), Config(A=1))], "is no result of TunableOp"),
        ([winner("tunableop:A", Workload(params="b"), Config(solution="c"))], "do not tell the PT_VERSION"),
        ([comma], "comma or a line break"),
    ):
        with pytest.raises(ExchangeError, match=message):
            FORMAT.write(out, Selection(winners=selected))
    assert not out.exists()
    FORMAT.write(out, Selection(winners=[good, other]))
    assert out.read_text().splitlines()[:2] == TEXT.splitlines()[:2]


def test_pytorch_reads_it_where_it_has_a_gpu(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'rltuner[gpu]'")
    if not hasattr(torch._C, "_cuda_tunableop_read_file"):
        pytest.skip("this PyTorch is built for CPUs only, and has no reader of TunableOp: use a CUDA or ROCm build")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch reads TunableOp's files on a GPU only")
    text = f"Validator,PT_VERSION,{torch.__version__.split('+')[0]}\nGemmTunableOp_float_NN,nn_8_8_8,Default,1\n"
    findings = FORMAT.read(put(tmp_path, text), ASKED).findings
    FORMAT.write(tmp_path / "again.csv", Selection(winners=winners_of(findings)))
    assert torch.cuda.tunable.read_file(str(tmp_path / "again.csv"))
