def write_report(study):
    pass
