package kind

import (
	"fmt"
	"testing"
	"unsafe"
)

func TestShare(t *testing.T) {
	t.Parallel()
	s := newShare(8)
	same := func(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }
	bytes := func(i int) []byte { return fmt.Appendf(nil, "f:spec %d", i) }
	first := s.of(bytes(0))
	for i := range 100 {
		if kept := s.of(bytes(0)); !same(kept, first) { // in use all the time
			t.Fatalf("after %d others the same bytes are others", i)
		}
		if got := s.of(bytes(i)); string(got) != string(bytes(i)) {
			t.Fatalf("got %q", got)
		}
		if n := len(s.young) + len(s.old); n > 8 {
			t.Fatalf("%d are kept", n)
		}
	}
	if a, b := s.of(bytes(1)), s.of(bytes(2)); same(a, b) {
		t.Error("others are the same")
	}
}
