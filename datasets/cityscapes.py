def frame_numbers(line, distance):
    f=int(line.rsplit("_",1)[1]); return f-distance, f
