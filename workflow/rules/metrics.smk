rule metrics:
    input:
        [block.path(ATTACK_RUNS) for block in GRID.blocks()],
        [block.path(RECONSTRUCTIONS) for block in GRID.blocks()],
        [run.path(TRAINING) for run in GRID.runs],
        [IMAGES.format(dataset=dataset) for dataset in GRID.datasets()],
        [f"{RESULTS}/{file}" for files in GRID.analyses().values() for file in files],
    output:
        attacks=f"{RESULTS}/metrics/attacks.parquet",
        training=f"{RESULTS}/metrics/training.parquet",
        gallery=f"{RESULTS}/metrics/gallery.safetensors",
        leakage=f"{RESULTS}/metrics/leakage.parquet",
        certificate=f"{RESULTS}/metrics/certificate.parquet",
        convergence=f"{RESULTS}/metrics/convergence.parquet",
        accounting=f"{RESULTS}/metrics/accounting.parquet",
    log:
        f"{LOGS}/metrics.log",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=60,
    params:
        # The job derives its inputs from the grid, as the list of files may be longer than a command line.
        settings=stable_json(jobs.metrics_job(CONFIG)),
        results=lambda wildcards, output: Path(output.attacks).parents[1],
        code=code_digest("fldrep.metrics.collect"),
    shell:
        "python -m fldrep metrics --settings {params.settings:q} --results {params.results:q} "
        "--attacks {output.attacks:q} --training {output.training:q} --gallery {output.gallery:q} "
        "--leakage {output.leakage:q} --certificate {output.certificate:q} --convergence {output.convergence:q} "
        "--accounting {output.accounting:q} > {log:q} 2>&1"
