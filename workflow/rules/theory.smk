# Theorems and accounts of the paper, each on the files of the runs that the config asks them of.


rule leakage:
    input:
        images=IMAGES,
        shards=SHARDS,
        checkpoints=CHECKPOINTS,
    output:
        LEAKAGE,
    log:
        f"{LOGS}/theory/{places.RUN}/round-{{round}}/leakage.log",
    benchmark:
        f"{LOGS}/theory/{places.RUN}/round-{{round}}/leakage.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=240,
    params:
        settings=lambda wildcards: stable_json(
            jobs.leakage_job(CONFIG, run_of(wildcards))
        ),
        code=code_under_defense("fldrep.theory.jobs.leakage"),
    shell:
        "python -m fldrep leakage --dataset {wildcards.dataset} --model {wildcards.model} "
        "--partition {wildcards.partition} --defense {wildcards.defense} --seed {wildcards.seed} "
        "--round {wildcards.round} --settings {params.settings:q} --images {input.images:q} "
        "--shards {input.shards:q} --checkpoints {input.checkpoints:q} --out {output:q} "
        "--code {params.code} > {log:q} 2>&1"


rule certificate:
    input:
        images=IMAGES,
        checkpoints=CHECKPOINTS,
        reconstructions=RECONSTRUCTIONS,
    output:
        CERTIFICATE,
    log:
        f"{LOGS}/theory/{places.BLOCK}/certificate.log",
    benchmark:
        f"{LOGS}/theory/{places.BLOCK}/certificate.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=240,
    params:
        settings=lambda wildcards: stable_json(
            jobs.certificate_job(CONFIG, GRID, block_of(wildcards))
        ),
        code=code_digest("fldrep.theory.jobs.certificate"),
    shell:
        "python -m fldrep certificate --dataset {wildcards.dataset} --model {wildcards.model} "
        "--partition {wildcards.partition} --defense {wildcards.defense} --seed {wildcards.seed} "
        "--round {wildcards.round} --update-kind {wildcards.update_kind} --attack {wildcards.attack} "
        "--block {wildcards.block} --settings {params.settings:q} --images {input.images:q} --checkpoints {input.checkpoints:q} "
        "--reconstructions {input.reconstructions:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


rule convergence:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        CONVERGENCE,
    log:
        f"{LOGS}/theory/{{dataset}}/{{partition}}/seed-{{seed}}/convergence.log",
    benchmark:
        f"{LOGS}/theory/{{dataset}}/{{partition}}/seed-{{seed}}/convergence.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=lambda wildcards: stable_json(CONFIG.theory.convergence),
        code=code_digest("fldrep.theory.jobs.convergence"),
    shell:
        "python -m fldrep convergence --dataset {wildcards.dataset} --partition {wildcards.partition} "
        "--seed {wildcards.seed} --settings {params.settings:q} --images {input.images:q} "
        "--shards {input.shards:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


rule accounting:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        ACCOUNTING,
    log:
        f"{LOGS}/theory/{places.RUN}/accounting.log",
    benchmark:
        f"{LOGS}/theory/{places.RUN}/accounting.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        settings=lambda wildcards: stable_json(
            jobs.accounting_job(CONFIG, run_of(wildcards))
        ),
        code=code_digest("fldrep.theory.jobs.accounting"),
    shell:
        "python -m fldrep accounting --dataset {wildcards.dataset} --model {wildcards.model} "
        "--partition {wildcards.partition} --defense {wildcards.defense} --seed {wildcards.seed} "
        "--settings {params.settings:q} --images {input.images:q} --shards {input.shards:q} "
        "--out {output:q} --code {params.code} > {log:q} 2>&1"
