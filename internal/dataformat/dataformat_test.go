package dataformat_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/internal/dataformat"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, version := range []int{1, 1, 2} {
		if err := dataformat.Check(dir, "store", version); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
	}
	var newer *dataformat.NewerError
	if err := dataformat.Check(dir, "store", 1); !errors.As(err, &newer) || newer.Found != 2 || !strings.Contains(err.Error(), "newer headway") {
		t.Errorf("a newer format: %v", err)
	}
	if err := dataformat.Check(dir, "agent", 2); err == nil {
		t.Error("another component's directory was accepted")
	}
	if err := os.WriteFile(filepath.Join(dir, dataformat.FileName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dataformat.Check(dir, "store", 2); err == nil {
		t.Error("a broken marker was accepted")
	}
}
