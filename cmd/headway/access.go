package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/apiserver"
	"github.com/headway-sh/headway/apiserver/authn"
)

// userCommand gives people access and takes it away.
func userCommand() *cobra.Command {
	user := &cobra.Command{Use: "user", Short: "Give people access, and take it away"}
	user.AddCommand(userAddCommand(),
		&cobra.Command{Use: "list", Short: "List the certificates that people have", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := apiClient(cmd)
				if err != nil {
					return err
				}
				return listUsers(cmd.Context(), c, cmd.OutOrStdout(), time.Now())
			}},
		userRemoveCommand())
	return user
}

func userAddCommand() *cobra.Command {
	var o userOptions
	var dataDir, out string
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a kubeconfig with a certificate of its own for a person",
		Long: `Make a kubeconfig with a certificate of its own for a person.

The certificate names the person; what they may do is decided by role bindings
for the name or the groups. The cluster keeps a record of it, and believes it
until "headway user remove" or its end.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := clientConfig(cmd)
			if err != nil {
				return err
			}
			authorities, err := authoritiesHere(cmd, dataDir, config)
			if err != nil {
				return err
			}
			c, err := apiClient(cmd)
			if err != nil {
				return err
			}
			o.name, o.server = args[0], config.Host
			text, err := addUser(cmd.Context(), c, authorities, o)
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
	add.Flags().StringSliceVar(&o.groups, "group", nil, "group of the person; may be given more than once")
	add.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	add.Flags().StringVarP(&out, "output-file", "f", "", "where to write the kubeconfig (default: standard output)")
	add.Flags().DurationVar(&o.lifetime, "ttl", 365*24*time.Hour, "how long the certificate is valid")
	return add
}

func userRemoveCommand() *cobra.Command {
	var serial string
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Make a person's certificates worthless from now on",
		Long: `Make a person's certificates worthless from now on.

Every server refuses them at once, and ends the watches, shells and other
streams that were opened with them. Role bindings for the name stay.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := apiClient(cmd)
			if err != nil {
				return err
			}
			n, err := removeUser(cmd.Context(), c, args[0], strings.ToLower(serial))
			if n > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%d of %s's certificates removed\n", n, args[0])
			}
			return err
		},
	}
	remove.Flags().StringVar(&serial, "serial", "", "only the certificate with this serial number, as in the list")
	return remove
}

// authoritiesHere are those of the cluster that a verb is about, from the
// server's data directory: as named, or where the administrator's kubeconfig
// lies. It makes none where there are none.
func authoritiesHere(cmd *cobra.Command, dataDir string, config *rest.Config) (*apiserver.Authorities, error) {
	keys := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "pki"))
		return err == nil
	}
	if path, err := kubeconfigPath(cmd); err == nil && !cmd.Flags().Changed("data-dir") && keys(filepath.Dir(path)) {
		dataDir = filepath.Dir(path)
	}
	if !keys(dataDir) {
		return nil, fmt.Errorf("the cluster's keys are not in %s: run this on the server's machine, and name its directory with --data-dir", dataDir)
	}
	authorities, err := apiserver.LoadAuthorities(dataDir, clock.RealClock{})
	if err != nil {
		return nil, err
	}
	if config != nil && !bytes.Contains(config.CAData, bytes.TrimSpace(authorities.API.PEM)) {
		return nil, fmt.Errorf("the keys in %s are of another cluster than that at %s: name the server's directory with --data-dir", dataDir, config.Host)
	}
	return authorities, nil
}

// apiClient reaches the cluster that a user verb is about.
func apiClient(cmd *cobra.Command) (client.Client, error) {
	config, err := clientConfig(cmd)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{})
}

// userOptions say who gets access, and to which server.
type userOptions struct {
	name, server string
	groups       []string
	lifetime     time.Duration
}

// addUser records a new certificate and gives the kubeconfig with it.
func addUser(ctx context.Context, c client.Client, authorities *apiserver.Authorities, o userOptions) ([]byte, error) {
	if o.lifetime <= 0 {
		return nil, errors.New("--ttl must be more than 0, such as 720h")
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("find out who you are: %w", err)
	}
	cert, key, record, err := authorities.RecordedCertificate(o.name, o.groups, o.lifetime, review.Status.UserInfo.Username)
	if err != nil {
		return nil, err
	}
	text, err := kubeconfig("headway", o.name, o.server, authorities.API.PEM, cert, key)
	if err != nil {
		return nil, err
	}
	if err := c.Create(ctx, record); err != nil {
		return nil, fmt.Errorf("record the certificate: %w", err)
	}
	return text, nil
}

// userCertificates are the records, by person and time.
func userCertificates(ctx context.Context, c client.Reader) ([]authn.UserCertificate, error) {
	var secrets corev1.SecretList
	if err := c.List(ctx, &secrets, client.InNamespace(authn.UserCertificateNamespace), client.MatchingFields{"type": string(authn.UserCertificateType)}); err != nil {
		return nil, fmt.Errorf("list the certificates: %w", err)
	}
	var all []authn.UserCertificate
	for i := range secrets.Items {
		one, err := authn.UserCertificateFrom(&secrets.Items[i])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b authn.UserCertificate) int {
		return cmp.Or(strings.Compare(a.User, b.User), a.Issued.Compare(b.Issued), strings.Compare(a.Serial, b.Serial))
	})
	return all, nil
}

// listUsers prints a line for each certificate.
func listUsers(ctx context.Context, c client.Reader, out io.Writer, now time.Time) error {
	all, err := userCertificates(ctx, c)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tGROUPS\tSERIAL\tISSUED\tBY\tEXPIRES")
	for _, one := range all {
		expires := one.Expires.Format(time.DateOnly)
		if !one.Expires.After(now) {
			expires = "expired"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", one.User, strings.Join(one.Groups, ","), one.Serial, one.Issued.Format(time.DateOnly), one.IssuedBy, expires)
	}
	return table.Flush()
}

// removeUser deletes the records of a person's certificates, or of the one
// with the serial number, and tells how many.
func removeUser(ctx context.Context, c client.Client, name, serial string) (int, error) {
	all, err := userCertificates(ctx, c)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, one := range all {
		if one.User != name || serial != "" && one.Serial != serial {
			continue
		}
		record, err := one.Object()
		if err != nil {
			return removed, err
		}
		if err := c.Delete(ctx, record); client.IgnoreNotFound(err) != nil {
			return removed, fmt.Errorf("remove certificate %s of %s: %w", one.Serial, name, err)
		}
		removed++
	}
	if removed == 0 {
		return 0, fmt.Errorf("%q has no such certificate; \"headway user list\" shows all", name)
	}
	return removed, nil
}
