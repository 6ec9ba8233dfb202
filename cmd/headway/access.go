package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/apiserver"
)

// userCommand gives people access.
func userCommand() *cobra.Command {
	user := &cobra.Command{Use: "user", Short: "Give people access"}
	var groups []string
	var dataDir, out string
	var lifetime time.Duration
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a kubeconfig with a certificate of its own for a person",
		Long: `Make a kubeconfig with a certificate of its own for a person.

The certificate names the person; what they may do is decided by role bindings
for the name or the groups. A certificate cannot be taken back before it ends:
take its role bindings away instead.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			authorities, err := apiserver.LoadAuthorities(dataDir, clock.RealClock{})
			if err != nil {
				return err
			}
			cert, key, err := authorities.UserCertificate(args[0], groups, lifetime)
			if err != nil {
				return err
			}
			config, err := clientConfig(cmd)
			if err != nil {
				return err
			}
			text, err := kubeconfig("headway", args[0], config.Host, authorities.API.PEM, cert, key)
			if err != nil {
				return err
			}
			if out == "" {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			return os.WriteFile(filepath.Clean(out), text, 0o600)
		},
	}
	add.Flags().StringSliceVar(&groups, "group", nil, "group of the person; may be given more than once")
	add.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	add.Flags().StringVarP(&out, "output-file", "f", "", "where to write the kubeconfig (default: standard output)")
	add.Flags().DurationVar(&lifetime, "ttl", 365*24*time.Hour, "how long the certificate is valid")
	user.AddCommand(add)
	return user
}
