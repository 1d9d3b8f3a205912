"""What the products' inner loops cost on 64-bit ARM, from the machine code alone.

python scripts/arm_cycles.py [LLVM_MCA]

For each kernel table, type and number of columns: instructions per 1000 multiply-adds, counted in
what Debian's cross compiler makes of the loop, and the cycles that llvm-mca (19 or later) expects
of the Neoverse N1 (the core of a Raspberry Pi 5, Cortex-A76, is its sibling), V1 (Graviton 3) and
V2 (Graviton 4), all data being in the first cache. An estimate, not a measurement.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
OPTIONS = {
    "neon": "-march=armv8-a",
    "neon_dotprod": "-march=armv8.2-a+dotprod",
    "neon_i8mm": "-march=armv8.2-a+dotprod+i8mm",
}
TYPES = ("Q4_0", "Q4_K", "Q6_K")
COLUMNS = (1, 4, 8)
CORES = ("neoverse-n1", "neoverse-v1", "neoverse-v2")
MACS = {"sdot": 16, "smmla": 32}  # multiply-adds of an instruction; the others' are of 8
PROBE = """
#include "kernels/{table}.c"
void probe(const packed_matrix *m, const void *group, const char *tile, float to[][GROUP]) {{
    multiply_group({type}, m, group, tile, {n}, 0, {n}, to);
}}
"""
PRODUCT = re.compile(r"\t(sdot|smmla|smlal2?|smull2?)\t")


def compiled(table: str, type_: str, n: int, folder: Path) -> list[str]:
    """The lines of assembly of multiply_group()."""
    source, assembly = folder / "probe.c", folder / "probe.s"
    source.write_text(PROBE.format(table=table, type=type_, n=n))
    command = ["aarch64-linux-gnu-gcc", "-std=gnu11", "-O3", "-DNDEBUG", "-fPIC"]
    command += ["-ffp-contract=off", "-fno-trapping-math", "-w", OPTIONS[table], "-I", str(CSRC)]
    subprocess.run([*command, "-S", "-o", str(assembly), str(source)], check=True)
    text = assembly.read_text()
    return text[text.index("\nprobe:") :].split(".size\tprobe", 1)[0].splitlines()


def inner_loop(lines: list[str]) -> list[str]:
    """The shortest stretch from a label to a branch back to it that has products."""
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    loops = []
    for i, line in enumerate(lines):
        branch = re.search(r"\t(?:b\.?\w*|cbn?z\t\w+,|tbn?z\t\w+, \d+,)\s(\.L\w+)$", line)
        if branch and labels.get(branch[1], i) < i:
            body = [x for x in lines[labels[branch[1]] : i + 1] if x.startswith("\t")]
            body = [x for x in body if not x.startswith("\t.")]
            if sum(bool(PRODUCT.search(x)) for x in body) >= 4:
                loops.append(body)
    return min(loops, key=len)


def cycles(mca: str, core: str, body: list[str]) -> float:
    command = [mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm"]
    command += ["-iterations=100", "-all-views=0", "-summary-view"]
    code = "\n".join(body)
    said = subprocess.run(command, input=code, text=True, capture_output=True, check=True)
    return int(re.search(r"Total Cycles:\s+(\d+)", said.stdout)[1]) / 100


def main() -> None:
    mca = sys.argv[1] if len(sys.argv) > 1 else "llvm-mca-19"
    heads = ["kernels", "type", "columns", "instructions / 1000"]
    print("| " + " | ".join(heads + [f"{core}, per cycle" for core in CORES]) + " |")
    print("|---" * (len(heads) + len(CORES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for table in OPTIONS:
            for type_ in TYPES:
                for n in COLUMNS:
                    body = inner_loop(compiled(table, type_, n, Path(folder)))
                    macs = sum(MACS.get(x[1], 8) for x in map(PRODUCT.search, body) if x)
                    row = [table, type_.lower(), str(n), f"{1000 * len(body) / macs:.0f}"]
                    for core in CORES:
                        lacks = table == "neon_i8mm" and core == "neoverse-n1"
                        row += ["-" if lacks else f"{macs / cycles(mca, core, body):.1f}"]
                    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
