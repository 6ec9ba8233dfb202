package txntest_test

import (
	"testing"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
)

func TestEmulator(t *testing.T) {
	txntest.Run(t, func(*testing.T) txn.Interface { return txntest.New(clock.RealClock{}) })
}
