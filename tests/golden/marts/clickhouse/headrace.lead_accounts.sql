WITH leads AS (
  SELECT
    l.id AS "id",
    CASE
      WHEN NOT (
        lowerUTF8(
          if(
            isNull(TRIM(l.email)),
            NULL,
            arrayElement(splitByString('@', assumeNotNull(TRIM(l.email))), 2)
          )
        ) IN (
          '',
          '126.com',
          '163.com',
          'aol.com',
          'fastmail.com',
          'free.fr',
          'gmail.com',
          'gmx.at',
          'gmx.ch',
          'gmx.com',
          'gmx.de',
          'gmx.net',
          'googlemail.com',
          'hey.com',
          'hotmail.co.uk',
          'hotmail.com',
          'hotmail.de',
          'hotmail.fr',
          'icloud.com',
          'laposte.net',
          'libero.it',
          'live.com',
          'mac.com',
          'mail.com',
          'mail.ru',
          'me.com',
          'msn.com',
          'naver.com',
          'orange.fr',
          'outlook.com',
          'outlook.de',
          'outlook.fr',
          'pm.me',
          'proton.me',
          'protonmail.com',
          'qq.com',
          'rediffmail.com',
          'rocketmail.com',
          'seznam.cz',
          't-online.de',
          'tutanota.com',
          'wanadoo.fr',
          'web.de',
          'wp.pl',
          'yahoo.co.in',
          'yahoo.co.jp',
          'yahoo.co.uk',
          'yahoo.com',
          'yahoo.de',
          'yahoo.fr',
          'yandex.com',
          'yandex.ru',
          'ymail.com',
          'zoho.com'
        )
      )
      THEN lowerUTF8(
        if(
          isNull(TRIM(l.email)),
          NULL,
          arrayElement(splitByString('@', assumeNotNull(TRIM(l.email))), 2)
        )
      )
    END AS domain,
    CASE
      WHEN NOT (
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REPLACE(
                                    REGEXP_REPLACE(
                                      lowerUTF8(TRIM(l.company)),
                                      '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                      ''
                                    ),
                                    ' ',
                                    ''
                                  ),
                                  '.',
                                  ''
                                ),
                                ',',
                                ''
                              ),
                              '-',
                              ''
                            ),
                            '_',
                            ''
                          ),
                          '''',
                          ''
                        ),
                        '"',
                        ''
                      ),
                      '&',
                      ''
                    ),
                    '+',
                    ''
                  ),
                  '/',
                  ''
                ),
                '(',
                ''
              ),
              ')',
              ''
            ),
            '[',
            ''
          ),
          ']',
          ''
        ) IN (
          '',
          'individual',
          'na',
          'none',
          'notprovided',
          'personal',
          'private',
          'self',
          'selfemployed',
          'student',
          'test',
          'unknown'
        )
      )
      THEN REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    lowerUTF8(TRIM(l.company)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      )
    END AS company
  FROM (
    SELECT
      "id",
      CAST(NULL AS Nullable(String)) AS "email",
      CAST(NULL AS Nullable(String)) AS "company",
      "isconverted",
      "is_deleted"
    FROM salesforce.lead AS "lead"
  ) AS l
  WHERE
    NOT (
      l.id IS NULL
    )
    AND NOT l.is_deleted
    AND NOT COALESCE(l.isconverted, FALSE)
    AND TRUE
), accounts_there AS (
  SELECT
    a.id AS "id",
    nullIf(
      REGEXP_REPLACE(
        REGEXP_REPLACE(lowerUTF8(TRIM(a.website)), '^(https?://)?(www[.])?', ''),
        '[/:?#].*$',
        ''
      ),
      ''
    ) AS domain,
    CASE
      WHEN NOT (
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REPLACE(
                                    REGEXP_REPLACE(
                                      lowerUTF8(TRIM(a.name)),
                                      '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                      ''
                                    ),
                                    ' ',
                                    ''
                                  ),
                                  '.',
                                  ''
                                ),
                                ',',
                                ''
                              ),
                              '-',
                              ''
                            ),
                            '_',
                            ''
                          ),
                          '''',
                          ''
                        ),
                        '"',
                        ''
                      ),
                      '&',
                      ''
                    ),
                    '+',
                    ''
                  ),
                  '/',
                  ''
                ),
                '(',
                ''
              ),
              ')',
              ''
            ),
            '[',
            ''
          ),
          ']',
          ''
        ) IN (
          '',
          'individual',
          'na',
          'none',
          'notprovided',
          'personal',
          'private',
          'self',
          'selfemployed',
          'student',
          'test',
          'unknown'
        )
      )
      THEN REPLACE(
        REPLACE(
          REPLACE(
            REPLACE(
              REPLACE(
                REPLACE(
                  REPLACE(
                    REPLACE(
                      REPLACE(
                        REPLACE(
                          REPLACE(
                            REPLACE(
                              REPLACE(
                                REPLACE(
                                  REGEXP_REPLACE(
                                    lowerUTF8(TRIM(a.name)),
                                    '([ ,.&]+(ab|ag|as|bv|co|company|corp|corporation|gmbh|inc|incorporated|kg|limited|llc|llp|ltd|nv|oy|plc|pty|sa|sarl|sas|se|spa|srl)[.]?)+$',
                                    ''
                                  ),
                                  ' ',
                                  ''
                                ),
                                '.',
                                ''
                              ),
                              ',',
                              ''
                            ),
                            '-',
                            ''
                          ),
                          '_',
                          ''
                        ),
                        '''',
                        ''
                      ),
                      '"',
                      ''
                    ),
                    '&',
                    ''
                  ),
                  '+',
                  ''
                ),
                '/',
                ''
              ),
              '(',
              ''
            ),
            ')',
            ''
          ),
          '[',
          ''
        ),
        ']',
        ''
      )
    END AS company
  FROM (
    SELECT
      "id",
      CAST(NULL AS Nullable(String)) AS "name",
      CAST(NULL AS Nullable(String)) AS "website",
      "is_deleted"
    FROM salesforce.account AS "account"
  ) AS a
  WHERE
    NOT a.is_deleted
), signs AS (
  SELECT
    id,
    90 AS percent,
    domain AS sign
  FROM accounts_there
  WHERE
    NOT (
      domain IS NULL
    )
  UNION DISTINCT
  SELECT
    a.id AS "id",
    80 AS percent,
    CASE
      WHEN NOT (
        lowerUTF8(
          if(
            isNull(TRIM(c.email)),
            NULL,
            arrayElement(splitByString('@', assumeNotNull(TRIM(c.email))), 2)
          )
        ) IN (
          '',
          '126.com',
          '163.com',
          'aol.com',
          'fastmail.com',
          'free.fr',
          'gmail.com',
          'gmx.at',
          'gmx.ch',
          'gmx.com',
          'gmx.de',
          'gmx.net',
          'googlemail.com',
          'hey.com',
          'hotmail.co.uk',
          'hotmail.com',
          'hotmail.de',
          'hotmail.fr',
          'icloud.com',
          'laposte.net',
          'libero.it',
          'live.com',
          'mac.com',
          'mail.com',
          'mail.ru',
          'me.com',
          'msn.com',
          'naver.com',
          'orange.fr',
          'outlook.com',
          'outlook.de',
          'outlook.fr',
          'pm.me',
          'proton.me',
          'protonmail.com',
          'qq.com',
          'rediffmail.com',
          'rocketmail.com',
          'seznam.cz',
          't-online.de',
          'tutanota.com',
          'wanadoo.fr',
          'web.de',
          'wp.pl',
          'yahoo.co.in',
          'yahoo.co.jp',
          'yahoo.co.uk',
          'yahoo.com',
          'yahoo.de',
          'yahoo.fr',
          'yandex.com',
          'yandex.ru',
          'ymail.com',
          'zoho.com'
        )
      )
      THEN lowerUTF8(
        if(
          isNull(TRIM(c.email)),
          NULL,
          arrayElement(splitByString('@', assumeNotNull(TRIM(c.email))), 2)
        )
      )
    END AS sign
  FROM (
    SELECT
      "id",
      "accountid",
      CAST(NULL AS Nullable(String)) AS "email",
      "is_deleted"
    FROM salesforce.contact AS "contact"
  ) AS c
  JOIN accounts_there AS a
    ON a.id = c.accountid
  WHERE
    NOT c.is_deleted
  UNION DISTINCT
  SELECT
    id,
    60 AS percent,
    company AS sign
  FROM accounts_there
  WHERE
    NOT (
      company IS NULL
    )
), shared AS (
  SELECT
    id,
    percent,
    sign,
    COUNT(*) OVER (PARTITION BY percent, sign) AS accounts
  FROM signs
), found AS (
  SELECT
    l.id AS lead_id,
    s.id AS account_id,
    s.percent AS "percent"
  FROM leads AS l
  JOIN shared AS s
    ON s.sign = l.domain
  WHERE
    s.percent > 60 AND s.accounts <= 20
  UNION ALL
  SELECT
    l.id AS lead_id,
    s.id AS account_id,
    s.percent AS "percent"
  FROM leads AS l
  JOIN shared AS s
    ON s.sign = l.company
  WHERE
    s.percent = 60 AND s.accounts <= 20
), counted AS (
  SELECT
    lead_id,
    account_id,
    MAX(percent) AS percent,
    MIN(percent) AS least,
    COUNT(*) OVER (PARTITION BY lead_id) AS candidates
  FROM found
  GROUP BY
    lead_id,
    account_id
), weighed AS (
  SELECT
    *,
    CASE percent WHEN 90 THEN 'website' WHEN 80 THEN 'contacts' ELSE 'company' END AS how,
    CAST(FLOOR(
      (
        CASE WHEN least = 60 AND percent > 60 THEN percent + 5 ELSE percent END
      ) / candidates
    ) AS Nullable(Int64)) AS hundredths
  FROM counted
)
SELECT
  lead_id,
  ROW_NUMBER() OVER (PARTITION BY lead_id ORDER BY hundredths DESC, account_id) AS place,
  account_id,
  how,
  hundredths * CAST('0.01' AS Nullable(Decimal(18, 2))) AS confidence,
  candidates
FROM weighed
