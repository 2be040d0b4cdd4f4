"""The command's exit statuses; 0 is done and 1 a defect of ours."""

BAD_INPUT, GATE_FAILED, INTERRUPTED = 2, 3, 130
