package rest

import (
	"sync"
	"sync/atomic"
)

// Sizes of the buffers in which streams gather what they send. A stream has one
// only while it has something to say, and so does one that its client does not
// take anything from: when many have one, further ones are small, so that
// thousands of clients that stall do not hold thousands of large buffers.
const (
	streamBuffer = 32 << 10
	smallBuffer  = 4 << 10
	manyBuffers  = 512 // 20 MB
	// maxGrown is by how much a buffer that is kept may have outgrown its size.
	maxGrown = 4
)

// buffers are lent to streams.
type buffers struct {
	large, small sync.Pool
	lent         atomic.Int64
}

// buffer is what a stream gathers, up to about its size.
type buffer struct {
	bytes []byte
	size  int
}

func newBuffers() *buffers {
	l := &buffers{}
	for _, size := range []int{streamBuffer, smallBuffer} {
		l.pool(size).New = func() any { return &buffer{make([]byte, 0, size+size/4), size} }
	}
	return l
}

func (l *buffers) pool(size int) *sync.Pool {
	if size == streamBuffer {
		return &l.large
	}
	return &l.small
}

func (l *buffers) take() *buffer {
	size := streamBuffer
	if l.lent.Add(1) > manyBuffers {
		size = smallBuffer
	}
	return l.pool(size).Get().(*buffer)
}

func (l *buffers) giveBack(b *buffer) {
	l.lent.Add(-1)
	if cap(b.bytes) <= maxGrown*b.size {
		b.bytes = b.bytes[:0]
		l.pool(b.size).Put(b)
	}
}
