"""What a run would do, worked out before anything is touched.

Options, parameters, pairs and the plan itself belong here: values made from values. Whether a plan
may be carried out is for ``lom.admission.admit``, carrying it out for ``lom.execution``.
"""
