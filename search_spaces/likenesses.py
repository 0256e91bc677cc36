def likenesses(space):
    return []
