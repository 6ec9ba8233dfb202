package nftables

import (
	"context"
	"fmt"

	"sigs.k8s.io/knftables"
)

// Open gives access to our table of this network namespace, which need not be
// there yet.
func Open(ipv6 bool) (knftables.Interface, error) {
	family := knftables.IPv4Family
	if ipv6 {
		family = knftables.IPv6Family
	}
	return knftables.New(family, TableName)
}

// Remove takes our table out of the kernel, what a proxy of an earlier life left
// as well, and tells whether it was there.
func Remove(ctx context.Context, nft knftables.Interface) (found bool, err error) {
	all, err := nft.ListAll(ctx)
	if knftables.IsNotFound(err) || err == nil && len(all) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read service rules: %w", err)
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return true, fmt.Errorf("remove service rules: %w", err)
	}
	return true, nil
}
