# Theorems and accounts of the paper, each on the files of the runs that the config asks them of.


rule identifiability:
    input:
        images=IMAGES,
        shards=SHARDS,
        checkpoints=CHECKPOINTS,
    output:
        identifiability=IDENTIFIABILITY,
    log:
        f"{LOGS}/theory/{places.SENT}/identifiability.log",
    benchmark:
        f"{LOGS}/theory/{places.SENT}/identifiability.benchmark.tsv"
    conda:
        "../envs/torch.yaml"
    threads: CONFIG.engine.threads
    resources:
        mem_mb=9000,
        runtime=720,
        gpu=gpus_wanted,
    params:
        settings=settings_of("identifiability"),
        code=code_of("identifiability"),
        plugins=PLUGIN_FILES,
    shell:
        command("identifiability")


rule leakage:
    input:
        images=IMAGES,
        shards=SHARDS,
        checkpoints=CHECKPOINTS,
    output:
        leakage=LEAKAGE,
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
        settings=settings_of("leakage"),
        code=code_of("leakage"),
        plugins=PLUGIN_FILES,
    shell:
        command("leakage")


rule certificate:
    input:
        images=IMAGES,
        checkpoints=CHECKPOINTS,
        reconstructions=RECONSTRUCTIONS,
    output:
        certificate=CERTIFICATE,
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
        settings=settings_of("certificate"),
        code=code_of("certificate"),
        plugins=PLUGIN_FILES,
    shell:
        command("certificate")


rule convergence:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        convergence=CONVERGENCE,
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
        settings=settings_of("convergence"),
        code=code_of("convergence"),
        plugins=PLUGIN_FILES,
    shell:
        command("convergence")


rule accounting:
    input:
        images=IMAGES,
        shards=SHARDS,
    output:
        accounting=ACCOUNTING,
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
        settings=settings_of("accounting"),
        code=code_of("accounting"),
        plugins=PLUGIN_FILES,
    shell:
        command("accounting")
