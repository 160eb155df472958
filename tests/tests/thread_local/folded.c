/* A constant part of an index that is outside of the array. */
static __thread char array[64] = {1, 2, 3};

long get(long index)
{
    return array[index + SHIFT];
}
